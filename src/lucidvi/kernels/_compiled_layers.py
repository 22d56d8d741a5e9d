"""The compiled operations between the matrix products of a network.

Each takes the place of several small operations of torch, whose overhead adds up over the steps
of a training. Those on hidden units are called as the likelihoods are, those on the few latent
dimensions as plain functions.
"""

# Nothing here is annotated: numba infers the types.
# mypy: ignore-errors

import math

import numpy as np
from numba import carray, cfunc, njit, types

from lucidvi.kernels._arithmetic import ONE, OPTIONS, ZERO, next_number, pointer, share

# -- batch norm, ReLU and dropout, each thread a share of the columns -------------------------


# A loop vectorizes if it runs over a whole array that is known to be contiguous, which for numba a
# part of a row is, but no part of a matrix.


@njit(**OPTIONS)
def add_row(x, total):
    for j in range(x.shape[0]):
        total[j] += x[j]


@njit(**OPTIONS)
def add_squares(x, mean, total):
    for j in range(x.shape[0]):
        difference = x[j] - mean[j]
        total[j] += difference * difference


@njit(**OPTIONS)
def activate_row(x, mean, reciprocal, weight, bias, normalized, out):
    """Batch norm and ReLU of a row; NaN stays NaN."""
    for j in range(x.shape[0]):
        unit = (x[j] - mean[j]) * reciprocal[j]
        y = unit * weight[j] + bias[j]
        normalized[j] = unit
        out[j] = ZERO if y <= ZERO else y


@njit(**OPTIONS)
def drop_row(kept, scale, out):
    for j in range(out.shape[0]):
        out[j] *= kept[j] * scale


@cfunc(types.void(types.voidptr), cache=True, **OPTIONS)
def activate(arguments):
    """Batch norm, ReLU and dropout of hidden units; keeps what their gradient needs."""
    given = carray(arguments, 16, np.int64)
    part, n_parts = next_number(arguments), given[1]
    n_rows, n_columns = given[2], given[3]
    n_kept = given[4]  # n_rows, or 0 without dropout
    options = carray(pointer(given[5]), 3, np.float64)  # momentum, eps, scale of what is kept
    kept = carray(pointer(given[6]), (n_kept, n_columns), np.float32)
    start, stop = share(part, n_parts, n_columns)
    x = carray(pointer(given[7]), (n_rows, n_columns), np.float32)
    weight = carray(pointer(given[8]), n_columns, np.float32)[start:stop]
    bias = carray(pointer(given[9]), n_columns, np.float32)[start:stop]
    running_mean = carray(pointer(given[10]), n_columns, np.float32)[start:stop]
    running_variance = carray(pointer(given[11]), n_columns, np.float32)[start:stop]
    statistics = carray(pointer(given[12]), (2, n_columns), np.float32)
    normalized = carray(pointer(given[13]), (n_rows, n_columns), np.float32)
    out = carray(pointer(given[14]), (n_rows, n_columns), np.float32)
    sums = carray(pointer(given[15]), (2, n_columns), np.float32)
    momentum, eps, scale = options[0], options[1], np.float32(options[2])
    mean, reciprocal = statistics[0][start:stop], statistics[1][start:stop]
    total, squares = sums[0][start:stop], sums[1][start:stop]
    total[:] = ZERO
    squares[:] = ZERO
    for i in range(n_rows):
        add_row(x[i][start:stop], total)
    for j in range(total.shape[0]):
        total[j] /= n_rows
    for i in range(n_rows):
        add_squares(x[i][start:stop], total, squares)
    for j in range(total.shape[0]):
        mean[j] = total[j]
        reciprocal[j] = 1.0 / math.sqrt(squares[j] / n_rows + eps)
        unbiased = squares[j] / (n_rows - 1)
        running_mean[j] = (1 - momentum) * running_mean[j] + momentum * total[j]
        running_variance[j] = (1 - momentum) * running_variance[j] + momentum * unbiased
    for i in range(n_rows):
        row, unit, result = x[i][start:stop], normalized[i][start:stop], out[i][start:stop]
        activate_row(row, mean, reciprocal, weight, bias, unit, result)
        if n_kept > 0:
            drop_row(kept[i][start:stop], scale, result)


@njit(**OPTIONS)
def add_gradients(gradient, normalized, out, scale, by_weight, by_bias):
    for j in range(out.shape[0]):
        g = ZERO if out[j] <= ZERO else gradient[j] * scale
        by_weight[j] += g * normalized[j]
        by_bias[j] += g


@njit(**OPTIONS)
def input_gradient(gradient, normalized, out, scale, by_weight, by_bias, factor, by_x):
    for j in range(out.shape[0]):
        g = ZERO if out[j] <= ZERO else gradient[j] * scale
        by_x[j] = factor[j] * (g - by_bias[j] - normalized[j] * by_weight[j])


@cfunc(types.void(types.voidptr), cache=True, **OPTIONS)
def activate_backward(arguments):
    """Gradients of ``activate`` by its input, weight and bias."""
    given = carray(arguments, 15, np.int64)
    part, n_parts = next_number(arguments), given[1]
    n_rows, n_columns = given[2], given[3]
    options = carray(pointer(given[4]), 3, np.float64)
    start, stop = share(part, n_parts, n_columns)
    gradient = carray(pointer(given[5]), (n_rows, n_columns), np.float32)
    weight = carray(pointer(given[6]), n_columns, np.float32)[start:stop]
    statistics = carray(pointer(given[7]), (2, n_columns), np.float32)
    normalized = carray(pointer(given[8]), (n_rows, n_columns), np.float32)
    out = carray(pointer(given[9]), (n_rows, n_columns), np.float32)
    by_x = carray(pointer(given[10]), (n_rows, n_columns), np.float32)
    by_weight = carray(pointer(given[11]), n_columns, np.float32)[start:stop]
    by_bias = carray(pointer(given[12]), n_columns, np.float32)[start:stop]
    sums = carray(pointer(given[13]), (2, n_columns), np.float32)
    terms = carray(pointer(given[14]), (3, n_columns), np.float32)
    scale = np.float32(options[2])
    by_unit, by_sum = sums[0][start:stop], sums[1][start:stop]
    mean_weight, mean_bias = terms[0][start:stop], terms[1][start:stop]
    factor, reciprocal = terms[2][start:stop], statistics[1][start:stop]
    by_unit[:] = ZERO
    by_sum[:] = ZERO
    for i in range(n_rows):
        g, unit, kept = gradient[i][start:stop], normalized[i][start:stop], out[i][start:stop]
        add_gradients(g, unit, kept, scale, by_unit, by_sum)
    for j in range(factor.shape[0]):
        by_weight[j], by_bias[j] = by_unit[j], by_sum[j]
        mean_weight[j], mean_bias[j] = by_unit[j] / n_rows, by_sum[j] / n_rows
        factor[j] = reciprocal[j] * weight[j]
    for i in range(n_rows):
        g, unit, kept = gradient[i][start:stop], normalized[i][start:stop], out[i][start:stop]
        row = by_x[i][start:stop]
        input_gradient(g, unit, kept, scale, mean_weight, mean_bias, factor, row)


# -- the posterior of the latent dimensions ---------------------------------------------------


@njit(cache=True, **OPTIONS)
def normal_of(heads, eps, log_variance_max, loc, scale):
    """Mean and standard deviation from both heads, side by side: ``sqrt(exp(.) + eps)``."""
    n = loc.shape[1]
    for i in range(loc.shape[0]):
        for j in range(n):
            loc[i, j] = heads[i, j]
            raw = heads[i, n + j]
            raw = log_variance_max if raw > log_variance_max else raw
            scale[i, j] = math.sqrt(math.exp(raw) + eps)


@njit(cache=True, **OPTIONS)
def normal_of_backward(heads, log_variance_max, scale, by_loc, by_scale, by_heads):
    """Gradient by the heads."""
    n = scale.shape[1]
    for i in range(scale.shape[0]):
        for j in range(n):
            by_heads[i, j] = by_loc[i, j]
            raw = heads[i, n + j]
            slope = math.exp(raw) / (2 * scale[i, j]) if raw <= log_variance_max else ZERO
            by_heads[i, n + j] = by_scale[i, j] * slope


@njit(cache=True, **OPTIONS)
def kl(loc, scale, out):
    """Divergence of normals from the standard normal, summed over the dimensions."""
    for i in range(loc.shape[0]):
        total = 0.0
        for j in range(loc.shape[1]):
            m, s = np.float64(loc[i, j]), np.float64(scale[i, j])
            total += m * m + s * s - 1.0 - 2.0 * math.log(s)
        out[i] = total / 2


@njit(cache=True, **OPTIONS)
def kl_backward(gradient, loc, scale, by_loc, by_scale):
    """Gradients of ``kl``."""
    for i in range(loc.shape[0]):
        for j in range(loc.shape[1]):
            by_loc[i, j] = gradient[i] * loc[i, j]
            by_scale[i, j] = gradient[i] * (scale[i, j] - ONE / scale[i, j])
