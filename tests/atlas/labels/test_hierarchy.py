"""Labels on several levels: sums of probabilities, and the finest label that is believed."""

import numpy as np
import pandas as pd
import pytest

from lucidvi.atlas import Reference
from lucidvi.atlas.labels._hierarchy import check_nested, coarser, finest_believed
from lucidvi.errors import DataError, MissingKeyError

FINE = pd.Categorical(["B", "NK", "T", "T"])
COARSE = pd.Categorical(["b", "cytotoxic", "cytotoxic", "cytotoxic"])


def test_a_coarse_label_is_as_probable_as_the_fine_ones_in_it():
    p = np.array([[0.2, 0.5, 0.3], [1.0, 0.0, 0.0]])
    np.testing.assert_allclose(coarser(p, FINE, COARSE), [[0.2, 0.8], [1.0, 0.0]])
    np.testing.assert_array_equal(coarser(p, FINE, FINE), p)


def test_the_call_is_the_finest_label_that_is_believed():
    labels = [pd.Categorical(["x", "x", "y"]), pd.Categorical(["x1", "x2", "y1"])]
    confidences = [np.array([0.95, 0.7, 0.5]), np.array([0.9, 0.6, 0.4])]
    assert list(finest_believed(labels, confidences, 0.8)) == ["x1", "x", "y"]
    assert list(finest_believed(labels, confidences, 0.0)) == ["x1", "x2", "y1"]


def test_a_middle_level_is_called_where_it_is_the_finest_believed():
    labels = [pd.Categorical([name]) for name in ("top", "middle", "bottom")]
    confidences = [np.array([c]) for c in (0.99, 0.9, 0.5)]
    assert list(finest_believed(labels, confidences, 0.8)) == ["middle"]


def test_a_fine_label_lies_in_one_coarse_label(model):
    check_nested(pd.DataFrame({"coarse": COARSE, "fine": FINE}), ["coarse", "fine"])
    torn = pd.DataFrame({"coarse": ["a", "b", "b"], "fine": ["x", "x", "y"]})
    with pytest.raises(DataError, match=r"obs\['fine'\] lie in .*: 'x'\. 'x' lies in 'a', 'b'"):
        check_nested(torn, ["coarse", "fine"])
    with pytest.raises(DataError, match="labels_key"):
        Reference.from_model(model, labels_key=["cell_type", "batch"])
    with pytest.raises(MissingKeyError, match="lineage"):
        Reference.from_model(model, labels_key=["lineage", "cell_type"])


def test_mapped_and_saved(model, query, tmp_path):
    obs = model.adata.obs
    obs["lineage"] = obs["cell_type"].map({"B": "b", "NK": "cytotoxic", "T": "cytotoxic"})
    try:
        reference = Reference.from_model(model, labels_key=["lineage", "cell_type"])
    finally:
        del obs["lineage"]
    reference.save(tmp_path / "atlas")
    loaded = Reference.load(tmp_path / "atlas")
    assert loaded.data.labels_key == "cell_type"
    assert loaded.data.coarser_keys == ("lineage",)
    out = loaded.map(query, novelty_rate=0, min_confidence=0.9).obs
    truth = out["cell_type"].astype(str).map({"B": "b"}).fillna("cytotoxic")
    assert (out["lucidvi_label_lineage"].astype(str) == truth).mean() > 0.95
    assert (out["lucidvi_confidence_lineage"] >= out["lucidvi_confidence"] - 1e-12).all()
    sure = out["lucidvi_confidence"] >= 0.9
    assert (~sure).any()
    label = out["lucidvi_label"].astype(str)
    expected = label.where(sure, out["lucidvi_label_lineage"].astype(str))
    assert (out["lucidvi_call"].astype(str) == expected).all()
