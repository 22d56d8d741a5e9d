"""Likelihoods and weights said anew of joined cells, and what cannot be."""

import pytest
from tests.data.mosaic.cells import joined, mosaic

from lucidvi.data import read_modalities
from lucidvi.data.mosaic import change
from lucidvi.errors import DataError
from lucidvi.module.mosaic import KINDS


def test_likelihood_and_weight():
    cells = joined(mosaic())
    before = read_modalities(cells)
    change(cells, {"prot": {"likelihood": "nb", "weight": 2.0}, "rna": "rna"}, KINDS)
    after = read_modalities(cells)
    said = after["prot"].specification
    assert (said["likelihood"], said["weight"], said["kind"]) == ("nb", 2.0, "protein")
    assert after["rna"].specification == before["rna"].specification
    assert (after["prot"].panels.codes == before["prot"].panels.codes).all()


@pytest.mark.parametrize(
    ("modalities", "message"),
    [
        ({"adt": "protein"}, "adt"),
        ({"prot": "rna"}, "says kind 'rna' of cells that were joined with 'protein'"),
        ({"prot": {"layer": "raw"}}, "says layer 'raw'"),
        ({"prot": {"weight": -1}}, "weight"),
    ],
)
def test_what_cannot_be_changed(modalities, message):
    cells = joined(mosaic())
    before = {name: dict(one.specification) for name, one in read_modalities(cells).items()}
    with pytest.raises(DataError, match=message):
        change(cells, modalities, KINDS)
    after = {name: dict(one.specification) for name, one in read_modalities(cells).items()}
    assert after == before
