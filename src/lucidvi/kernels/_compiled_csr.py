"""The compiled operations on CSR matrices, called as the likelihoods are."""

# Nothing here is annotated: numba infers the types.
# mypy: ignore-errors

import numpy as np
from numba import carray, cfunc, njit, types

from lucidvi.kernels._arithmetic import OPTIONS, ZERO, next_number, pointer, share


@njit(**OPTIONS)
def add_to(out, x, weight):
    for i in range(x.shape[0]):
        out[i] += weight * x[i]


@cfunc(types.void(types.voidptr), cache=True, **OPTIONS)
def sparse_product(arguments):
    """Product of a CSR matrix and a dense one, plus a row; a thread takes a share of the rows."""
    given = carray(arguments, 11, np.int64)
    part, n_parts = next_number(arguments), given[1]
    n_rows, n_inner, n_columns = given[2], given[3], given[4]
    starts = carray(pointer(given[5]), n_rows + 1, np.int32)
    inner = carray(pointer(given[6]), starts[n_rows], np.int32)
    values = carray(pointer(given[7]), starts[n_rows], np.float32)
    dense = carray(pointer(given[8]), (n_inner, n_columns), np.float32)
    bias = carray(pointer(given[9]), n_columns, np.float32)
    out = carray(pointer(given[10]), (n_rows, n_columns), np.float32)
    start, stop = share(part, n_parts, n_rows)
    for row in range(start, stop):
        total = out[row]
        total[:] = bias
        for k in range(starts[row], starts[row + 1]):
            add_to(total, dense[inner[k]], values[k])


@cfunc(types.void(types.voidptr), cache=True, **OPTIONS)
def densify(arguments):
    """Write a CSR matrix as a dense one; a thread takes a share of the rows."""
    given = carray(arguments, 8, np.int64)
    part, n_parts = next_number(arguments), given[1]
    n_rows, n_columns = given[2], given[3]
    starts = carray(pointer(given[4]), n_rows + 1, np.int32)
    columns = carray(pointer(given[5]), starts[n_rows], np.int32)
    values = carray(pointer(given[6]), starts[n_rows], np.float32)
    out = carray(pointer(given[7]), (n_rows, n_columns), np.float32)
    start, stop = share(part, n_parts, n_rows)
    for row in range(start, stop):
        out[row, :] = ZERO
        for k in range(starts[row], starts[row + 1]):
            out[row, columns[k]] += values[k]


@njit(cache=True)
def sum_rows(starts, values):
    """Sum of each row, shape ``(n_rows, 1)``."""
    sums = np.zeros((starts.shape[0] - 1, 1), np.float32)
    for row in range(sums.shape[0]):
        total = 0.0
        for k in range(starts[row], starts[row + 1]):
            total += values[k]
        sums[row, 0] = total
    return sums


@njit(cache=True)
def compress(x):
    """Non-zeros of a dense matrix, as the three arrays of CSR."""
    n_rows, n_columns = x.shape
    starts = np.zeros(n_rows + 1, np.int32)
    for row in range(n_rows):
        n = 0
        for column in range(n_columns):
            n += x[row, column] != 0
        starts[row + 1] = starts[row] + n
    columns = np.empty(starts[n_rows], np.int32)
    values = np.empty(starts[n_rows], np.float32)
    k = 0
    for row in range(n_rows):
        for column in range(n_columns):
            if x[row, column] != 0:
                columns[k] = column
                values[k] = x[row, column]
                k += 1
    return starts, columns, values


@njit(cache=True)
def transpose(starts, columns, values, n_columns):
    """CSR arrays of the transposed matrix."""
    n_rows = starts.shape[0] - 1
    new_starts = np.zeros(n_columns + 1, np.int32)
    for column in columns:
        new_starts[column + 1] += 1
    for column in range(n_columns):
        new_starts[column + 1] += new_starts[column]
    place = new_starts[:-1].copy()
    rows, new_values = np.empty_like(columns), np.empty_like(values)
    for row in range(n_rows):
        for k in range(starts[row], starts[row + 1]):
            to = place[columns[k]]
            place[columns[k]] += 1
            rows[to] = row
            new_values[to] = values[k]
    return new_starts, rows, new_values
