"""The compiled operations on CSR matrices, called as the likelihoods are."""

# Nothing here is annotated: numba infers the types.
# mypy: ignore-errors

import numpy as np

from lucidvi.kernels._arithmetic import ZERO, floats, int32s, int64s, next_number, share, wide
from lucidvi.kernels._compile import OPTIONS, compiled, inlined, kernel, part


@part
def add_rows(out, n, rows, places, weights, start, stop):
    """Add weighted rows, four at a time, since each time reads and writes the total."""
    wide()
    k = start
    while k + 4 <= stop:
        a, b, c, d = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
        v, w = floats(rows, places[k] * n), floats(rows, places[k + 1] * n)
        x, y = floats(rows, places[k + 2] * n), floats(rows, places[k + 3] * n)
        for i in range(n):
            out[i] += (a * v[i] + b * w[i]) + (c * x[i] + d * y[i])
        k += 4
    while k < stop:
        a, v = weights[k], floats(rows, places[k] * n)
        for i in range(n):
            out[i] += a * v[i]
        k += 1


@kernel
def sparse_product(arguments):
    """Product of a CSR matrix and a dense one, plus a row; a thread takes a share of the rows."""
    given = int64s(arguments, 0)
    n_rows, n_columns = given[2], given[4]
    starts, inner, values = int32s(given[5], 0), int32s(given[6], 0), floats(given[7], 0)
    dense, bias = given[8], floats(given[9], 0)
    start, stop = share(next_number(arguments), given[1], n_rows)
    for row in range(start, stop):
        total = floats(given[10], row * n_columns)
        for i in range(n_columns):
            total[i] = bias[i]
        first, last = np.int64(starts[row]), np.int64(starts[row + 1])
        add_rows(total, n_columns, dense, inner, values, first, last)


@inlined
def sort_by_column(n_rows, starts, columns, values, first, last, ends, rows, new_values):
    """Entries of the columns from ``first`` to ``last`` (exclusive), column by column.

    Returns where they start in ``rows`` and ``new_values``, that is how many come before;
    ``ends[column]`` tells where a column ends.
    """
    for column in range(first, last):
        ends[column] = 0
    before = np.int64(0)
    for k in range(starts[n_rows]):
        column = columns[k]
        before += column < first
        if first <= column < last:
            ends[column] += 1
    place = before
    for column in range(first, last):
        length = ends[column]
        ends[column] = place
        place += length
    for row in range(n_rows):
        for k in range(starts[row], starts[row + 1]):
            column = columns[k]
            if first <= column < last:
                place = ends[column]
                rows[place] = row
                new_values[place] = values[k]
                ends[column] = place + 1
    return before


@kernel
def transposed_product(arguments):
    """Product of a transposed CSR matrix and a dense one; a thread takes some of the columns."""
    given = int64s(arguments, 0)
    n_rows, n_columns = given[2], given[4]
    starts, inner, values = int32s(given[5], 0), int32s(given[6], 0), floats(given[7], 0)
    ends, rows, new_values = int32s(given[10], 0), int32s(given[11], 0), floats(given[12], 0)
    first, last = share(next_number(arguments), given[1], given[3])
    start = sort_by_column(n_rows, starts, inner, values, first, last, ends, rows, new_values)
    for column in range(first, last):
        total = floats(given[9], column * n_columns)
        for i in range(n_columns):
            total[i] = ZERO
        stop = np.int64(ends[column])
        add_rows(total, n_columns, given[8], rows, new_values, start, stop)
        start = stop


@kernel
def densify(arguments):
    """Write a CSR matrix as a dense one; a thread takes a share of the rows."""
    given = int64s(arguments, 0)
    n_columns = given[3]
    starts, columns, values = int32s(given[4], 0), int32s(given[5], 0), floats(given[6], 0)
    start, stop = share(next_number(arguments), given[1], given[2])
    for row in range(start, stop):
        out = floats(given[7], row * n_columns)
        for column in range(n_columns):
            out[column] = ZERO
        for k in range(starts[row], starts[row + 1]):
            out[columns[k]] += values[k]


@kernel
def sum_rows(arguments):
    """Sum of each row of a CSR matrix."""
    given = int64s(arguments, 0)
    starts, values, sums = int32s(given[3], 0), floats(given[4], 0), floats(given[5], 0)
    for row in range(given[2]):
        total = 0.0
        for k in range(starts[row], starts[row + 1]):
            total += values[k]
        sums[row] = total


@compiled()
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


@compiled(**OPTIONS)
def gather(starts, columns, values, rows, new_starts, new_columns, new_values):
    """Write the entries of rows of a CSR matrix where those of another start."""
    for i in range(rows.shape[0]):
        start, stop = starts[rows[i]], starts[rows[i] + 1]
        new_start, new_stop = new_starts[i], new_starts[i + 1]
        some, new = columns[start:stop], new_columns[new_start:new_stop]
        for k in range(new.shape[0]):
            new[k] = some[k]
        some_values, new_ones = values[start:stop], new_values[new_start:new_stop]
        for k in range(new_ones.shape[0]):
            new_ones[k] = some_values[k]
