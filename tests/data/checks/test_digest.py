"""Digests of cells: the same for equal values in every form, another one for any change."""

import numpy as np
import pytest
from scipy import sparse

from lucidvi.data.checks._digest import (
    CellDigests,
    digests_of_rows,
    digests_of_values,
    gene_weights,
)
from lucidvi.data.matrices._blocks import blocks

RNG = np.random.default_rng(0)
COUNTS = RNG.poisson(0.7, (53, 31)).astype(np.float32)
ROWS = np.array([5, 0, 52, 5, 7])


def by_definition(matrix: np.ndarray) -> list[int]:
    """The sum in Python's own integers."""
    weights = [int(weight) for weight in gene_weights(matrix.shape[1])]
    bits = matrix.astype(np.float32).view(np.uint32)
    bits = np.where(bits == 2**31, 0, bits)
    return [sum(int(b) * w for b, w in zip(row, weights, strict=True)) % 2**64 for row in bits]


def by_blocks(matrix: object) -> np.ndarray:
    digests = CellDigests(*COUNTS.shape)
    for block in blocks(matrix, "matrix"):
        digests.add(block)
    return digests.values


def unsorted(matrix: np.ndarray) -> sparse.csr_matrix:
    csr = sparse.csr_matrix(matrix)
    for row in range(csr.shape[0]):
        part = slice(csr.indptr[row], csr.indptr[row + 1])
        csr.indices[part], csr.data[part] = csr.indices[part][::-1], csr.data[part][::-1]
    csr.has_sorted_indices = False
    return csr


def with_entries_twice(matrix: np.ndarray, kind: str = "csr") -> sparse.csr_matrix:
    """Each count as a sum of one and the rest."""
    rows, columns = np.nonzero(matrix)
    values = matrix[rows, columns]
    rows, columns = np.tile(rows, 2), np.tile(columns, 2)
    parts = np.concatenate([np.ones_like(values), values - 1])
    shape = matrix.shape
    if kind == "csc":
        order = np.argsort(columns, kind="stable")
        indptr = np.searchsorted(columns[order], np.arange(shape[1] + 1))
        return sparse.csc_matrix((parts[order], rows[order], indptr), shape=shape)
    order = np.argsort(rows, kind="stable")
    indptr = np.searchsorted(rows[order], np.arange(shape[0] + 1))
    return sparse.csr_matrix((parts[order], columns[order], indptr), shape=shape)


FORMS = {
    "csr": sparse.csr_matrix(COUNTS),
    "csr_array": sparse.csr_array(COUNTS),
    "csc": sparse.csc_matrix(COUNTS),
    "int64 indices": sparse.csr_matrix(
        (
            COUNTS[np.nonzero(COUNTS)],
            sparse.csr_matrix(COUNTS).indices.astype(np.int64),
            sparse.csr_matrix(COUNTS).indptr.astype(np.int64),
        ),
        shape=COUNTS.shape,
    ),
    "unsorted": unsorted(COUNTS),
    "twice": with_entries_twice(COUNTS),
    "twice by gene": with_entries_twice(COUNTS, "csc"),
    "dense": COUNTS,
    "fortran": np.asfortranarray(COUNTS),
    "strided": np.repeat(COUNTS, 2, axis=1)[:, ::2],
    "minus zero": np.where(COUNTS == 0, np.float32(-0.0), COUNTS),
    **{f"dense {kind}": COUNTS.astype(kind) for kind in ("u1", "i2", "i8", "f2", "f8", ">f4")},
    **{f"csr {kind}": sparse.csr_matrix(COUNTS.astype(kind)) for kind in ("u1", "i8", "f8")},
}


@pytest.mark.parametrize("form", FORMS)
def test_equal_values_have_one_digest_in_every_form(form: str):
    expected = by_definition(COUNTS)
    matrix = FORMS[form]
    assert digests_of_rows(matrix, np.arange(53)).tolist() == expected
    assert digests_of_rows(matrix, ROWS).tolist() == [expected[row] for row in ROWS]
    assert by_blocks(matrix).tolist() == expected
    assert digests_of_values(matrix).tolist() == expected


@pytest.mark.parametrize("by_gene", [False, True])
def test_blocks_that_are_parts_of_rows(by_gene: bool):
    da = pytest.importorskip("dask.array")
    make = sparse.csc_matrix if by_gene else sparse.csr_matrix
    matrix = da.from_array(COUNTS, chunks=(20, 9)).map_blocks(make)
    assert by_blocks(matrix).tolist() == by_definition(COUNTS)
    assert by_blocks(da.from_array(COUNTS, chunks=(20, 9))).tolist() == by_definition(COUNTS)


def test_every_single_change_is_seen():
    before = digests_of_rows(COUNTS, np.arange(53))
    for _ in range(300):
        changed = COUNTS.copy()
        cell, gene = RNG.integers(53), RNG.integers(31)
        changed[cell, gene] += RNG.choice([-0.5, 1, 1e-3, 2**20, np.nan])
        different = digests_of_rows(changed, np.arange(53)) != before
        assert different.tolist() == [row == cell for row in range(53)]


def test_counts_of_two_genes_or_cells_that_change_places_are_seen():
    cell = int(np.flatnonzero(COUNTS[:, 3] != COUNTS[:, 4])[0])
    swapped = COUNTS[:, [0, 1, 2, 4, 3, *range(5, 31)]]
    before, after = (digests_of_rows(x, np.arange(53)) for x in (COUNTS, swapped))
    assert before[cell] != after[cell]
    assert np.sort(digests_of_rows(COUNTS[::-1].copy(), np.arange(53))).tolist() == (
        np.sort(before).tolist()
    )


def test_digests_of_different_rows_hardly_ever_meet():
    """Of 2e10 pairs of rows of ones and zeros, whose bit patterns are alike, about two do."""
    rows = RNG.integers(0, 2, (200_000, 40)).astype(np.float32)
    n_distinct = len(np.unique(np.packbits(rows.astype(bool), axis=1), axis=0))
    assert len(np.unique(digests_of_values(rows))) > n_distinct - 12
