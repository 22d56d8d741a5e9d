"""Compiled log likelihoods of many states of the same cells, and their gradients by the logits.

As in ``_compiled_likelihoods.py``, a kernel is a C function of the address of its arguments, and
the threads of a team take rows, one after the other, until none is left. What depends on counts
and dispersions alone is not computed here: a cell's gamma functions are the same in all states.
"""

# Nothing here is annotated: numba infers the types.
# mypy: ignore-errors

import math

import numpy as np
from numba import carray, cfunc, njit, types

from lucidvi.kernels._arithmetic import (
    ONE,
    OPTIONS,
    ZERO,
    exp,
    log1p,
    log_factorial,
    next_number,
    pointer,
    rising,
    row_max,
    share,
)

POISSON = 0
#: Counts above this may all but cancel with their mean, so that float32 would not do.
LARGE = 64.0
#: Log means beyond these are left to the reference, which takes more care.
LOG_MEAN_MAX, LOG_POISSON_MAX = 60.0, 30.0
#: Sums of exponentials, relative to another state's largest, that have lost nothing.
TOTAL_MIN, TOTAL_MAX = 1e-6, 1e24
#: Genes whose terms are added up in float32.
BLOCK = 512


@njit(**OPTIONS)
def block_sum(x):
    total = ZERO
    for i in range(x.shape[0]):
        total += x[i]
    return np.float64(total)


@njit(**OPTIONS)
def block_dot(x, y):
    total = ZERO
    for i in range(x.shape[0]):
        total += x[i] * y[i]
    return np.float64(total)


@njit(**OPTIONS)
def total_of(x):
    """Sum, by blocks."""
    total = 0.0
    for start in range(0, x.shape[0], BLOCK):
        total += block_sum(x[start : start + BLOCK])
    return total


@njit(**OPTIONS)
def product_of(x, y):
    """Sum of products, by blocks."""
    total = 0.0
    for start in range(0, x.shape[0], BLOCK):
        total += block_dot(x[start : start + BLOCK], y[start : start + BLOCK])
    return total


@njit(**OPTIONS)
def exponentials(x, largest, out):
    """Exponentials relative to a number, and their sum."""
    for i in range(x.shape[0]):
        out[i] = exp(x[i] - largest)
    return total_of(out)


@njit(**OPTIONS)
def poisson_row(x, base, genes, counts, mu, factor, out):
    """Log likelihood up to the factorials; ``out`` is the derivative by the log mean."""
    for i in range(mu.shape[0]):
        out[i] = -mu[i] * factor
    value = total_of(out)
    for k in range(genes.shape[0]):
        j, count = genes[k], np.float64(counts[k])
        log_mu, mean = x[k] + base, -np.float64(out[j])
        if count > LARGE:
            value += mean
            mean = math.exp(log_mu)
            value -= mean
        value += count * log_mu
        out[j] = np.float32(count - mean)
    return value


@njit(**OPTIONS)
def nb_zeros(mu, factor, reciprocal_theta, log_ratio):
    for i in range(mu.shape[0]):
        ratio = mu[i] * factor * reciprocal_theta[i]
        log_ratio[i] = log1p(ratio, ONE + ratio)


@njit(**OPTIONS)
def nb_zeros_with_gradient(mu, factor, reciprocal_theta, log_ratio, out):
    for i in range(mu.shape[0]):
        m = mu[i] * factor
        ratio = m * reciprocal_theta[i]
        u = ONE + ratio
        out[i] = -m * (ONE / u)
        log_ratio[i] = log1p(ratio, u)


@njit(**OPTIONS)
def nb_row(x, base, genes, counts, theta, mu, factor, log_ratio, out, want_gradient):
    r"""Log likelihood up to what is the same in all states; ``out`` as in :func:`poisson_row`.

    .. math:: \sum_g x_g \log \mu_g - (\theta_g + x_g) \log(1 + \mu_g / \theta_g)
    """
    if want_gradient:
        nb_zeros_with_gradient(mu, factor, theta[1], log_ratio, out)
    else:
        nb_zeros(mu, factor, theta[1], log_ratio)
    value = -product_of(theta[0], log_ratio)
    for k in range(genes.shape[0]):
        j, count = genes[k], np.float64(counts[k])
        log_mu, of_theta = x[k] + base, np.float64(theta[0, j])
        mean, log_u = np.float64(mu[j] * factor), np.float64(log_ratio[j])
        if count > LARGE:
            mean = math.exp(log_mu)
            value += of_theta * log_u
            log_u = math.log1p(mean / of_theta)
            value -= of_theta * log_u
        value += count * (log_mu - log_u)
        if want_gradient:
            out[j] = np.float32((count - mean) * of_theta / (of_theta + mean))
    return value


@njit(**OPTIONS)
def through_softmax(a, mu, correction):
    """From the derivative by the log mean to that by the logits."""
    for i in range(a.shape[0]):
        a[i] -= mu[i] * correction


@cfunc(types.void(types.voidptr), cache=True, **OPTIONS)
def of_states(arguments):
    """Log likelihoods of rows of logits, which become gradients; ``_states.py`` calls it."""
    given = carray(arguments, 19, np.int64)
    n_parts, place = given[1], next_number(pointer(given[18]))
    n_cells, n_genes, per_cell, n_theta = given[2], given[3], given[4], given[5]
    is_poisson, want_gradient = given[6] == POISSON, given[7] != 0
    n_rows = n_cells * per_cell

    logits = carray(pointer(given[8]), (n_rows, n_genes), np.float32)
    log_library = carray(pointer(given[9]), n_rows, np.float32)
    theta = carray(pointer(given[10]), (n_theta, 2, n_genes), np.float32)
    starts = carray(pointer(given[11]), n_cells + 1, np.int32)
    genes = carray(pointer(given[12]), starts[n_cells], np.int32)
    counts = carray(pointer(given[13]), starts[n_cells], np.float32)
    constant = carray(pointer(given[14]), n_cells, np.float64)
    value = carray(pointer(given[15]), n_rows, np.float32)
    by_library = carray(pointer(given[16]), n_rows, np.float32)
    scratch = carray(pointer(given[17]), (place + 1, 4, n_genes), np.float32)[place]
    mu, spare, at_counts, unused = scratch[0], scratch[1], scratch[2], scratch[3]
    limit = LOG_POISSON_MAX if is_poisson else LOG_MEAN_MAX

    part = next_number(arguments)
    while part < n_parts:
        start, stop = share(part, n_parts, n_rows)
        largest = row_max(logits[start], mu)
        for row in range(start, stop):
            cell = row // per_cell
            own = slice(starts[cell], starts[cell + 1])
            x, of_cell, of_counts = logits[row], genes[own], counts[own]
            total = exponentials(x, largest, mu)
            if not (TOTAL_MIN < total < TOTAL_MAX):
                largest = row_max(x, mu)
                total = exponentials(x, largest, mu)
            base = np.float64(log_library[row])
            if not (math.isfinite(total) and abs(base) <= limit):
                value[row] = np.nan
                continue
            base -= largest + math.log(total)
            factor = np.float32(math.exp(base + largest))
            for k in range(of_cell.shape[0]):
                at_counts[k] = x[of_cell[k]]
            out = x if want_gradient else unused
            if is_poisson:
                v = poisson_row(at_counts, base, of_cell, of_counts, mu, factor, out)
            else:
                t = theta[cell % n_theta]
                v = nb_row(
                    at_counts, base, of_cell, of_counts, t, mu, factor, spare, out, want_gradient
                )
            value[row] = np.float32(v + constant[cell])
            if want_gradient:
                by_base = total_of(out)
                by_library[row] = np.float32(by_base)
                through_softmax(x, mu, np.float32(by_base / total))
        part = next_number(arguments)


@njit(cache=True, **OPTIONS)
def constants(starts, genes, counts, log_theta):
    r"""Sum what is the same in all states of a cell, shape ``(n_cells,)``.

    .. math:: \sum_g \log\frac{\Gamma(x_g + \theta_g)}{\Gamma(\theta_g)} - x_g \log \theta_g
        - \log x_g!

    of a negative binomial, the last term alone of a Poisson, which has no ``log_theta``.
    """
    out = np.zeros(len(starts) - 1)
    for cell in range(out.shape[0]):
        for k in range(starts[cell], starts[cell + 1]):
            x = np.float64(counts[k])
            out[cell] -= log_factorial(x)
            if log_theta.shape[0] and x != 0.0:
                at = np.float64(log_theta[cell % log_theta.shape[0], genes[k]])
                log_rising = at if x == 1.0 else rising(x, math.exp(at))[0]
                out[cell] += log_rising - x * at
    return out
