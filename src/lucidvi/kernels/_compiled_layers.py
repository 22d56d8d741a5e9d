"""The compiled operations between the matrix products of a network.

Each takes the place of several small operations of torch, whose overhead adds up over the steps
of a training. They are called as the likelihoods are.
"""

# Nothing here is annotated: numba infers the types.
# mypy: ignore-errors

import math

import numpy as np

from lucidvi.kernels._arithmetic import (
    ONE,
    ZERO,
    doubles,
    floats,
    int64s,
    next_number,
    share,
)
from lucidvi.kernels._compile import inlined, kernel

# -- batch norm, ReLU and dropout, each thread a share of the columns -------------------------


@inlined
def add_row(x, n, total):
    for j in range(n):
        total[j] += x[j]


@inlined
def add_squares(x, n, mean, total):
    for j in range(n):
        difference = x[j] - mean[j]
        total[j] += difference * difference


@inlined
def activate_row(x, n, mean, reciprocal, weight, bias, normalized, out):
    """Batch norm and ReLU of a row; NaN stays NaN."""
    for j in range(n):
        unit = (x[j] - mean[j]) * reciprocal[j]
        y = unit * weight[j] + bias[j]
        normalized[j] = unit
        out[j] = ZERO if y <= ZERO else y


@inlined
def drop_row(kept, n, scale, out):
    for j in range(n):
        out[j] *= kept[j] * scale


@kernel
def activate(arguments):
    """Batch norm, ReLU and dropout of hidden units; keeps what their gradient needs."""
    given = int64s(arguments, 0)
    n_rows, n_columns = given[2], given[3]
    n_kept = given[4]  # n_rows, or 0 without dropout
    options = doubles(given[5], 0)
    momentum, eps, scale = options[0], options[1], np.float32(options[2])  # of what is kept
    start, stop = share(next_number(arguments), given[1], n_columns)
    n = stop - start
    weight, bias = floats(given[8], start), floats(given[9], start)
    running_mean, running_variance = floats(given[10], start), floats(given[11], start)
    mean, reciprocal = floats(given[12], start), floats(given[12], n_columns + start)
    total, squares = floats(given[15], start), floats(given[15], n_columns + start)
    for j in range(n):
        total[j] = ZERO
        squares[j] = ZERO
    for i in range(n_rows):
        add_row(floats(given[7], i * n_columns + start), n, total)
    for j in range(n):
        total[j] /= n_rows
    for i in range(n_rows):
        add_squares(floats(given[7], i * n_columns + start), n, total, squares)
    for j in range(n):
        mean[j] = total[j]
        reciprocal[j] = 1.0 / math.sqrt(squares[j] / n_rows + eps)
        unbiased = squares[j] / (n_rows - 1)
        running_mean[j] = (1 - momentum) * running_mean[j] + momentum * total[j]
        running_variance[j] = (1 - momentum) * running_variance[j] + momentum * unbiased
    for i in range(n_rows):
        first = i * n_columns + start
        x, out = floats(given[7], first), floats(given[14], first)
        activate_row(x, n, mean, reciprocal, weight, bias, floats(given[13], first), out)
        if n_kept > 0:
            drop_row(floats(given[6], first), n, scale, out)


@inlined
def add_gradients(gradient, n, normalized, out, scale, by_weight, by_bias):
    for j in range(n):
        g = ZERO if out[j] <= ZERO else gradient[j] * scale
        by_weight[j] += g * normalized[j]
        by_bias[j] += g


@inlined
def input_gradient(gradient, n, normalized, out, scale, by_weight, by_bias, factor, by_x):
    for j in range(n):
        g = ZERO if out[j] <= ZERO else gradient[j] * scale
        by_x[j] = factor[j] * (g - by_bias[j] - normalized[j] * by_weight[j])


@kernel
def activate_backward(arguments):
    """Gradients of ``activate`` by its input, weight and bias."""
    given = int64s(arguments, 0)
    n_rows, n_columns = given[2], given[3]
    scale = np.float32(doubles(given[4], 0)[2])
    start, stop = share(next_number(arguments), given[1], n_columns)
    n = stop - start
    weight, reciprocal = floats(given[6], start), floats(given[7], n_columns + start)
    by_weight, by_bias = floats(given[11], start), floats(given[12], start)
    by_unit, by_sum = floats(given[13], start), floats(given[13], n_columns + start)
    mean_weight, mean_bias = floats(given[14], start), floats(given[14], n_columns + start)
    factor = floats(given[14], 2 * n_columns + start)
    for j in range(n):
        by_unit[j] = ZERO
        by_sum[j] = ZERO
    for i in range(n_rows):
        first = i * n_columns + start
        g, unit, out = floats(given[5], first), floats(given[8], first), floats(given[9], first)
        add_gradients(g, n, unit, out, scale, by_unit, by_sum)
    for j in range(n):
        by_weight[j], by_bias[j] = by_unit[j], by_sum[j]
        mean_weight[j], mean_bias[j] = by_unit[j] / n_rows, by_sum[j] / n_rows
        factor[j] = reciprocal[j] * weight[j]
    for i in range(n_rows):
        first = i * n_columns + start
        g, unit, out = floats(given[5], first), floats(given[8], first), floats(given[9], first)
        by_x = floats(given[10], first)
        input_gradient(g, n, unit, out, scale, mean_weight, mean_bias, factor, by_x)


# -- the posterior of the latent dimensions ---------------------------------------------------


@kernel
def normal_of(arguments):
    """Mean and standard deviation from both heads, side by side: ``sqrt(exp(.) + eps)``."""
    given = int64s(arguments, 0)
    n = given[3]
    options = doubles(given[4], 0)
    eps, log_variance_max = np.float32(options[0]), np.float32(options[1])
    for i in range(given[2]):
        heads = floats(given[5], 2 * i * n)
        loc, scale = floats(given[6], i * n), floats(given[7], i * n)
        for j in range(n):
            loc[j] = heads[j]
            raw = heads[n + j]
            raw = log_variance_max if raw > log_variance_max else raw
            scale[j] = math.sqrt(math.exp(raw) + eps)


@kernel
def normal_of_backward(arguments):
    """Gradient by the heads."""
    given = int64s(arguments, 0)
    n = given[3]
    log_variance_max = np.float32(doubles(given[4], 0)[1])
    for i in range(given[2]):
        heads, scale = floats(given[5], 2 * i * n), floats(given[6], i * n)
        by_loc, by_scale = floats(given[7], i * n), floats(given[8], i * n)
        by_heads = floats(given[9], 2 * i * n)
        for j in range(n):
            by_heads[j] = by_loc[j]
            raw = heads[n + j]
            slope = math.exp(raw) / (2 * scale[j]) if raw <= log_variance_max else ZERO
            by_heads[n + j] = by_scale[j] * slope


@kernel
def kl(arguments):
    """Divergence of normals from the standard normal, summed over the dimensions."""
    given = int64s(arguments, 0)
    n, out = given[3], floats(given[6], 0)
    for i in range(given[2]):
        loc, scale = floats(given[4], i * n), floats(given[5], i * n)
        total = 0.0
        for j in range(n):
            m, s = np.float64(loc[j]), np.float64(scale[j])
            total += m * m + s * s - 1.0 - 2.0 * math.log(s)
        out[i] = total / 2


@kernel
def kl_backward(arguments):
    """Gradients of ``kl``."""
    given = int64s(arguments, 0)
    n, gradient = given[3], floats(given[4], 0)
    for i in range(given[2]):
        loc, scale = floats(given[5], i * n), floats(given[6], i * n)
        by_loc, by_scale = floats(given[7], i * n), floats(given[8], i * n)
        for j in range(n):
            by_loc[j] = gradient[i] * loc[j]
            by_scale[j] = gradient[i] * (scale[j] - ONE / scale[j])


#: What each training with hidden units and normal posteriors calls.
KERNELS = (activate, activate_backward, normal_of, normal_of_backward, kl, kl_backward)
