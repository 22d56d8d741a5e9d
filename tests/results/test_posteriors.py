"""Posteriors of cells as arrays."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from lucidvi.errors import DataError
from lucidvi.inference import NormalPosterior
from lucidvi.results import Posteriors

NAMES = pd.Index(["a", "b", "c"])


def tensors(n_cells: int = 3, n_state: int = 3) -> NormalPosterior:
    generator = torch.Generator().manual_seed(0)
    loc = torch.randn(n_cells, n_state, generator=generator)
    lower = torch.randn(n_cells, n_state, n_state, generator=generator).tril(-1)
    return NormalPosterior(loc, lower + torch.eye(n_state))


def test_z_of_a_state_has_the_marginal_covariance():
    posterior = tensors()
    z = Posteriors.of(posterior.first(2), NAMES, full=True, dtype=np.float64)
    whole = (posterior.scale_tril @ posterior.scale_tril.mT).numpy()
    np.testing.assert_allclose(z.covariance, whole[:, :2, :2], rtol=1e-6)
    np.testing.assert_allclose(z.scale**2, np.diagonal(z.covariance, 0, 1, 2), rtol=1e-6)
    assert z.factor is z.scale_tril
    assert (len(z), z.n_latent) == (3, 2)


def test_independent_numbers_have_a_diagonal_covariance():
    z = Posteriors.of(tensors(), NAMES)
    assert z.scale_tril is None
    assert z.factor is z.scale
    assert z.loc.dtype == np.float32
    np.testing.assert_allclose(z.covariance[1], np.diag(z.scale[1] ** 2))


def test_factors_without_correlation_count_as_independent():
    ones = np.ones((3, 2))
    z = Posteriors(loc=ones, scale=ones, scale_tril=np.stack([np.eye(2)] * 3), names=NAMES)
    assert z.factor is z.scale


@pytest.mark.parametrize("cells", [np.array([2, 0]), np.array([True, False, True]), slice(1, 3)])
def test_cells_are_selected_with_their_names(cells: NDArray[np.integer] | slice):
    z = Posteriors.of(tensors(), NAMES, full=True)
    some = z.select(cells)
    assert list(some.names) == list(NAMES[cells])
    np.testing.assert_array_equal(some.loc, z.loc[cells])
    np.testing.assert_array_equal(some.scale_tril, z.scale_tril[cells])  # type: ignore[index]


def test_parts_are_concatenated_in_their_order():
    z = Posteriors.of(tensors(), NAMES, full=True)
    again = Posteriors.concatenate([z.select(slice(1)), z.select(slice(1, None))])
    np.testing.assert_array_equal(again.scale_tril, z.scale_tril)
    assert again.names.equals(z.names)
    without = dataclasses.replace(z, scale_tril=None)
    assert Posteriors.concatenate([z, without]).scale_tril is None


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Told(Posteriors):
    elbo: NDArray[np.floating]
    source: str | None


def test_a_subclass_takes_what_it_has_of_the_cells_along():
    z = Posteriors.of(tensors(), NAMES)
    told = Told(loc=z.loc, scale=z.scale, names=NAMES, elbo=np.arange(3.0), source="file")
    some = told.select(np.array([2]))
    assert (some.elbo.tolist(), some.source) == ([2.0], "file")
    assert Told.concatenate([some, told]).elbo.tolist() == [2.0, 0.0, 1.0, 2.0]
    other = dataclasses.replace(told, source="other")
    assert Told.concatenate([told, other]).source is None
    assert Told.concatenate([told, told]).source == "file"
    without = dataclasses.replace(told, elbo=None)
    assert Told.concatenate([without, told]).elbo is None


def test_a_table_has_the_cells_names():
    z = Posteriors.of(tensors(), NAMES)
    table = z.to_frame()
    assert table.index.equals(NAMES)
    np.testing.assert_array_equal(table["loc"], z.loc)
    np.testing.assert_array_equal(table["scale"], z.scale)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scale", np.ones((3, 1))),
        ("scale_tril", np.ones((3, 2))),
        ("names", pd.Index(["a", "b"])),
    ],
)
def test_shapes_that_do_not_agree_are_told(name: str, value: object):
    arrays = {"loc": np.ones((3, 2)), "scale": np.ones((3, 2)), "names": NAMES}
    with pytest.raises(DataError, match=f"`{name}` has the shape"):
        Posteriors(**arrays | {name: value})  # type: ignore[arg-type]


def test_its_repr_is_short():
    assert len(repr(Posteriors.of(tensors(), NAMES)).splitlines()) < 5
