"""What is said of modalities is understood, or refused by name."""

import pytest
from tests.data.mosaic.cells import KINDS, mosaic

from lucidvi.data import specifications
from lucidvi.errors import ArgumentError, DataError


def test_a_kind_or_a_dictionary():
    rna, prot = specifications(
        {"rna": "rna", "prot": {"kind": "protein", "layer": "counts", "weight": 2}}, KINDS
    ).values()
    assert (rna.kind, rna.layer, rna.weight) == ("rna", None, 1)
    assert (prot.kind, prot.layer, prot.weight) == ("protein", "counts", 2)
    assert rna.needs_counts
    assert not prot.needs_counts
    code = prot.changed(measured="all")
    scope = {"modalities": {}}
    exec(code, scope)
    again = specifications(scope["modalities"], KINDS)["prot"]
    assert again.plain() == prot.plain() | {"measured": "all"}


@pytest.mark.parametrize(
    ("modalities", "error", "message"),
    [
        ({"prot": "protien"}, DataError, "(?s)is 'protien'.*did you mean.*'protein'"),
        ({"prot": {"kind": "adt"}}, DataError, "is 'adt'; it must be one of 'rna'"),
        ({"prot": {"layer": "counts"}}, DataError, "without a kind"),
        ({"prot": {"kind": "protein", "layr": 1}}, ArgumentError, "(?s)`layr`.*mean 'layer'"),
        ({"prot": {"kind": "protein", "layer": 1}}, DataError, r'"layer"\]` is 1'),
        ({"prot": {"kind": "protein", "weight": 0}}, DataError, r'"weight"\]` is 0'),
        ({"prot": {"kind": "protein", "measured": "al"}}, DataError, "(?s)is 'al'.*'all'"),
        ({"prot": {"kind": "protein", "measured": 3}}, DataError, "is a int"),
        ({"batch": "protein"}, DataError, "as scvi-tools calls data of its own"),
        ({"a/b": "protein"}, DataError, "without a slash"),
    ],
)
def test_what_cannot_be_meant(modalities, error, message):
    with pytest.raises(error, match=message):
        specifications(modalities, KINDS)


@pytest.mark.parametrize("modalities", [None, ["rna", "prot"], {}])
def test_what_is_no_dictionary(modalities):
    with pytest.raises(DataError) as info:
        specifications(modalities, KINDS, mosaic())
    assert 'modalities={"rna": "rna", "prot": "protein"}' in info.value.remedy
