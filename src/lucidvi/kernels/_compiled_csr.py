"""The compiled operations on CSR matrices, called as the likelihoods are."""

# Nothing here is annotated: numba infers the types.
# mypy: ignore-errors

import numpy as np
from numba import carray, cfunc, njit, types

from lucidvi.kernels._arithmetic import OPTIONS, ZERO, next_number, pointer, share


@njit(**OPTIONS)
def add_rows(out, rows, places, weights, start, stop):
    """Add weighted rows, four at a time, since each time reads and writes the total."""
    n = out.shape[0]
    k = start
    while k + 4 <= stop:
        a, b, c, d = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
        v, w, x, y = rows[places[k]], rows[places[k + 1]], rows[places[k + 2]], rows[places[k + 3]]
        for i in range(n):
            out[i] += (a * v[i] + b * w[i]) + (c * x[i] + d * y[i])
        k += 4
    while k < stop:
        a, v = weights[k], rows[places[k]]
        for i in range(n):
            out[i] += a * v[i]
        k += 1


@cfunc(types.void(types.voidptr), cache=True, **OPTIONS)
def sparse_product(arguments):
    """Product of a CSR matrix and a dense one, plus a row; a thread takes a share of the rows."""
    numbers = carray(arguments, 11, np.int64)
    part, n_parts = next_number(arguments), numbers[1]
    n_rows, n_inner, n_columns = numbers[2], numbers[3], numbers[4]
    starts = carray(pointer(numbers[5]), n_rows + 1, np.int32)
    inner = carray(pointer(numbers[6]), starts[n_rows], np.int32)
    values = carray(pointer(numbers[7]), starts[n_rows], np.float32)
    dense = carray(pointer(numbers[8]), (n_inner, n_columns), np.float32)
    bias = carray(pointer(numbers[9]), n_columns, np.float32)
    out = carray(pointer(numbers[10]), (n_rows, n_columns), np.float32)
    start, stop = share(part, n_parts, n_rows)
    for row in range(start, stop):
        total = out[row]
        total[:] = bias
        add_rows(total, dense, inner, values, starts[row], starts[row + 1])


@njit(**OPTIONS)
def sort_by_column(starts, columns, values, first, last, ends, rows, new_values):
    """Entries of the columns from ``first`` to ``last`` (exclusive), column by column.

    Returns where they start in ``rows`` and ``new_values``, that is how many come before;
    ``ends[column]`` tells where a column ends.
    """
    ends[first:last] = 0
    before = 0
    for k in range(starts[starts.shape[0] - 1]):
        column = columns[k]
        before += column < first
        if first <= column < last:
            ends[column] += 1
    place = before
    for column in range(first, last):
        place, ends[column] = place + ends[column], place
    for row in range(starts.shape[0] - 1):
        for k in range(starts[row], starts[row + 1]):
            column = columns[k]
            if first <= column < last:
                rows[ends[column]] = row
                new_values[ends[column]] = values[k]
                ends[column] += 1
    return before


@cfunc(types.void(types.voidptr), cache=True, **OPTIONS)
def transposed_product(arguments):
    """Product of a transposed CSR matrix and a dense one; a thread takes some of the columns."""
    numbers = carray(arguments, 13, np.int64)
    part, n_parts = next_number(arguments), numbers[1]
    n_rows, n_inner, n_columns = numbers[2], numbers[3], numbers[4]
    starts = carray(pointer(numbers[5]), n_rows + 1, np.int32)
    n_values = starts[n_rows]
    inner = carray(pointer(numbers[6]), n_values, np.int32)
    values = carray(pointer(numbers[7]), n_values, np.float32)
    dense = carray(pointer(numbers[8]), (n_rows, n_columns), np.float32)
    out = carray(pointer(numbers[9]), (n_inner, n_columns), np.float32)
    ends = carray(pointer(numbers[10]), n_inner, np.int32)
    rows = carray(pointer(numbers[11]), n_values, np.int32)
    new_values = carray(pointer(numbers[12]), n_values, np.float32)
    first, last = share(part, n_parts, n_inner)
    start = sort_by_column(starts, inner, values, first, last, ends, rows, new_values)
    for column in range(first, last):
        total = out[column]
        total[:] = ZERO
        add_rows(total, dense, rows, new_values, start, ends[column])
        start = ends[column]


@cfunc(types.void(types.voidptr), cache=True, **OPTIONS)
def densify(arguments):
    """Write a CSR matrix as a dense one; a thread takes a share of the rows."""
    numbers = carray(arguments, 8, np.int64)
    part, n_parts = next_number(arguments), numbers[1]
    n_rows, n_columns = numbers[2], numbers[3]
    starts = carray(pointer(numbers[4]), n_rows + 1, np.int32)
    columns = carray(pointer(numbers[5]), starts[n_rows], np.int32)
    values = carray(pointer(numbers[6]), starts[n_rows], np.float32)
    out = carray(pointer(numbers[7]), (n_rows, n_columns), np.float32)
    start, stop = share(part, n_parts, n_rows)
    for row in range(start, stop):
        out[row, :] = ZERO
        for k in range(starts[row], starts[row + 1]):
            out[row, columns[k]] += values[k]


@njit(cache=True, **OPTIONS)
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
def gather(starts, columns, values, rows):
    """Rows of a CSR matrix, as the three arrays of another (int32, int32, float32)."""
    new_starts = np.zeros(rows.shape[0] + 1, np.int32)
    n_rows = starts.shape[0] - 1
    for i in range(rows.shape[0]):
        row = rows[i] % n_rows  # a negative one counts from the end
        new_starts[i + 1] = new_starts[i] + (starts[row + 1] - starts[row])
    n_values = new_starts[rows.shape[0]]
    new_columns = np.empty(n_values, np.int32)
    new_values = np.empty(n_values, np.float32)
    for i in range(rows.shape[0]):
        row = rows[i] % n_rows
        new_columns[new_starts[i] : new_starts[i + 1]] = columns[starts[row] : starts[row + 1]]
        new_values[new_starts[i] : new_starts[i + 1]] = values[starts[row] : starts[row + 1]]
    return new_starts, new_columns, new_values
