"""The table says which cells have what."""

from tests.data.mosaic.cells import joined, mosaic

from lucidvi.data.mosaic import described, table

TOLD = {"rna": "rna", "prot": {"kind": "protein", "measured": {"c": ["p0", "p1"]}}}


def test_cells_of_each_batch():
    got = table(joined(mosaic(), TOLD, batch_key="batch"), "batch")
    assert list(got.index) == ["a", "b", "c"]
    assert got["cells", "n"].tolist() == [20, 20, 20]
    assert got["rna"].to_numpy().tolist() == [[20, 8, 8], [20, 8, 8], [0, 0, 8]]
    assert got["prot"].to_numpy().tolist() == [[0, 0, 5], [20, 5, 5], [20, 2, 5]]
    lines = described(got).splitlines()
    assert lines[1].split() == ["a", "20", "20", "(8", "of", "8", "features)", "-"]
    assert lines[3].split() == ["c", "20", "-", "20", "(2", "of", "5", "features)"]


def test_without_batches():
    got = table(joined(mosaic()))
    assert got.loc["all cells", "prot"].tolist() == [40, 5, 5]
    assert got.loc["all cells", ("cells", "n")] == 60
