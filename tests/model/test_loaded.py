"""Files that say more than their weights do: sizes that no machine has, and no numbers."""

import copy

import numpy as np
import pytest
import torch
from tests.robustness.saved import cells, rna_model

from lucidvi.errors import FileError
from lucidvi.model import SCVI


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loaded") / "m"
    rna_model().save(str(folder))
    return torch.load(folder / "model.pt", weights_only=False)


@pytest.fixture
def changed(content, tmp_path):
    """Return a function that writes the file with some entries changed."""

    def write(**entries):
        file = {key: part.copy() for key, part in content.items() if hasattr(part, "copy")}
        attributes = dict(file["attr_dict"])
        parameters = attributes["init_params_"]
        attributes["init_params_"] = {
            **parameters,
            "non_kwargs": {**parameters["non_kwargs"], **entries.get("arguments", {})},
        }
        attributes |= entries.get("attributes", {})
        weights = {**file["model_state_dict"], **entries.get("weights", {})}
        torch.save(
            {**file, "attr_dict": attributes, "model_state_dict": weights}, tmp_path / "model.pt"
        )
        return str(tmp_path)

    return write


def test_the_file_itself_is_read(changed):
    assert SCVI.load(changed(), adata=cells()).is_trained_


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"n_hidden": 10**9}, "weights, and it holds"),
        ({"n_latent": 10**9}, "weights, and it holds"),
        ({"n_layers": 10**9}, "1,000,000,000 layers"),
    ],
)
def test_sizes_that_no_weights_are_of_take_no_memory(changed, arguments, says):
    with pytest.raises(FileError, match=says):
        SCVI.load(changed(arguments=arguments), adata=cells())


def test_other_sizes_than_those_of_the_weights(changed):
    with pytest.raises(FileError, match=r"holds no whole saved SCVI .*size mismatch"):
        SCVI.load(changed(arguments={"n_hidden": 7}), adata=cells())


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e20])
def test_weights_that_are_no_numbers(changed, content, value):
    for name in ("px_r", "z_encoder.encoder.fc_layers.Layer 0.1.running_mean"):
        weight = torch.full_like(content["model_state_dict"][name], value)
        with pytest.raises(FileError, match=f"NaN, infinite or absurd: '{name}'"):
            SCVI.load(changed(weights={name: weight}), adata=cells())


@pytest.mark.parametrize(
    "entries",
    [
        {"weights": {"px_r": [1.0]}},
        {"weights": {"px_r": torch.ones(12, dtype=torch.complex64)}},
        {"weights": {"px_r": torch.zeros(1).expand(10**6, 10**6)}},
        {"attributes": {"registry_": {"field_registries": 3}}},
        {"attributes": {"registry_": {"model_name": ["SCVI"]}}},
        {"attributes": {"history_values_": {"elbo_train": torch.ones(3)}}},
        {"attributes": {"train_indices": np.arange(3), "init_params_": {"non_kwargs": 3}}},
    ],
)
def test_entries_of_another_kind(changed, entries):
    with pytest.raises(FileError, match=r"model\.pt"):
        SCVI.load(changed(**entries), adata=cells())


def test_columns_that_are_not_those_of_the_setup(changed, content):
    registry = copy.deepcopy(content["attr_dict"]["registry_"])
    registry["field_registries"]["labels"]["state_registry"]["original_key"] = "another"
    with pytest.raises(FileError, match="labels_key is None, and its field is of 'another'"):
        SCVI.load(changed(attributes={"registry_": registry}), adata=cells())
