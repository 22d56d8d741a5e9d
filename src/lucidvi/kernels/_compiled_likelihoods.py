"""The compiled log likelihoods: one pass over each cell gives its value and all gradients.

A kernel is a C function of one argument, the address of a list of 64-bit integers: sizes and the
addresses of arrays. It is called by all threads of a team at once, and each takes one share of the
cells after the other until none is left (:mod:`lucidvi.kernels._team`). How many shares there are
does not depend on the threads, so neither does any sum.

The work is split into plain loops over a few arrays, since these vectorize. Gamma functions are
evaluated at the non-zeros alone, in float64.
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
    row_sum,
    share,
)

# -- one cell: terms of the zeros, then of the counts -----------------------------------------
# Arrays of a cell, all of length n_genes: `mu` the mean, `zero` minus the log probability of a
# zero under the NB, `a` the derivative by log_mu, `b` that by log_theta.

POISSON, NB, ZINB = 0, 1, 2
#: Counts above this may all but cancel with their mean, so that float32 would not do.
LARGE = 64.0
#: Log means beyond these are left to the reference, which takes more care.
LOG_MEAN_MAX = 60.0


@njit(**OPTIONS)
def exp_all(x, largest, out):
    """Exponentials relative to the largest, and their sum."""
    for i in range(x.shape[0]):
        out[i] = exp(x[i] - largest)
    return row_sum(out)


@njit(**OPTIONS)
def scale_all(x, factor):
    """Multiply in place, and return the sum."""
    for i in range(x.shape[0]):
        x[i] *= factor
    return row_sum(x)


@njit(**OPTIONS)
def nb_zeros(mu, factor, theta, reciprocal_theta, zero, a):
    """Scale the means; -log NB(0) and its derivative by log_mu."""
    for i in range(mu.shape[0]):
        m = mu[i] * factor
        ratio = m * reciprocal_theta[i]
        u = ONE + ratio
        reciprocal = ONE / u
        mu[i] = m
        a[i] = -m * reciprocal
        zero[i] = log1p(ratio, u)
    for i in range(mu.shape[0]):
        zero[i] *= theta[i]


@njit(**OPTIONS)
def nb_count(x, log_mu, mu, log_theta, theta, reciprocal_theta, zero):
    """Log NB(x) and its derivatives by log_mu and log_theta, all in float64."""
    ratio, log_ratio = mu * reciprocal_theta, zero * reciprocal_theta
    if x > LARGE:
        mu, theta = math.exp(log_mu), math.exp(log_theta)
        reciprocal_theta = 1.0 / theta
        ratio = mu * reciprocal_theta
        log_ratio = math.log1p(ratio)
    rest = 1.0 / (1.0 + ratio)
    if x == 1.0:  # the most frequent count, and the simplest
        log_rising, derivative = log_theta, reciprocal_theta
    else:
        log_rising, derivative = rising(x, theta)
    value = log_rising + x * (log_mu - log_theta - log_ratio) - log_factorial(x)
    by_theta = theta * (derivative - log_ratio) + (mu - x) * rest
    return value - theta * log_ratio, (x - mu) * rest, by_theta


@njit(**OPTIONS)
def inflation(zi_logits, log_pi, gradient):
    """Log probability of inflation, and one minus the probability."""
    for i in range(zi_logits.shape[0]):
        zi = zi_logits[i]
        e = exp(-abs(zi))
        reciprocal = ONE / (ONE + e)
        log_pi[i] = min(zi, ZERO) - log1p(e, ONE + e)
        gradient[i] = (e if zi >= ZERO else ONE) * reciprocal


@njit(**OPTIONS)
def inflated_zeros(zi_logits, zero, excess, share_nb):
    """Log(1 + NB(0) / odds of inflation), and the share of the zeros that the NB explains."""
    for i in range(zero.shape[0]):
        y = -zero[i] - zi_logits[i]
        e = exp(-abs(y))
        reciprocal = ONE / (ONE + e)
        excess[i] = max(y, ZERO) + log1p(e, ONE + e)
        share_nb[i] = (ONE if y >= ZERO else e) * reciprocal


@njit(**OPTIONS)
def inflated_gradients(share_nb, zero, a, zi_gradient):
    """Find the derivatives at an inflated zero; that by log_theta takes the place of the share."""
    for i in range(zero.shape[0]):
        s = share_nb[i]
        zi_gradient[i] -= s
        share_nb[i] = -s * (zero[i] + a[i])
        a[i] *= s


@njit(**OPTIONS)
def add_to(out, x, weight):
    for i in range(x.shape[0]):
        out[i] += weight * x[i]


@njit(**OPTIONS)
def subtract_both(out, x, y, weight):
    for i in range(x.shape[0]):
        out[i] -= weight * (x[i] + y[i])


@njit(**OPTIONS)
def through_softmax(a, mu, correction, weight):
    """From the derivative by the log mean to that by the logits, weighted."""
    for i in range(a.shape[0]):
        a[i] = weight * (a[i] - mu[i] * correction)


@njit(**OPTIONS)
def exponentials(log_theta, theta, reciprocal_theta):
    for i in range(log_theta.shape[0]):
        theta[i] = exp(log_theta[i])
        reciprocal_theta[i] = exp(-log_theta[i])


# -- one cell, by family ----------------------------------------------------------------------


@njit(**OPTIONS)
def poisson_cell(x, base, factor, genes, counts, mu, a):
    """Log likelihood of a cell under the Poisson; ``a`` is its derivative by log_mu."""
    value = -scale_all(mu, factor)
    for i in range(mu.shape[0]):
        a[i] = -mu[i]
    for k in range(genes.shape[0]):
        j, count = genes[k], np.float64(counts[k])
        log_mu = x[j] + base
        value += count * log_mu - log_factorial(count)
        mean = math.exp(log_mu) if count > LARGE else np.float64(mu[j])
        value += mu[j] - mean
        a[j] = np.float32(count - mean)
    return value


@njit(**OPTIONS)
def nb_cell(x, base, factor, genes, counts, log_theta, theta, mu, zero, a, b, weight):
    """Log likelihood of a cell under the NB; adds its weighted derivative by log_theta to b."""
    nb_zeros(mu, factor, theta[0], theta[1], zero, a)
    value = -row_sum(zero)
    for k in range(genes.shape[0]):
        j, count = genes[k], np.float64(counts[k])
        if count != 0.0:
            log_prob, by_mu, by_theta = nb_count(
                count,
                x[j] + base,
                np.float64(mu[j]),
                np.float64(log_theta[j]),
                np.float64(theta[0, j]),
                1.0 / theta[0, j],
                np.float64(zero[j]),
            )
            value += log_prob + zero[j]
            a[j] = np.float32(by_mu)
            zero[j] = np.float32(-by_theta) - a[j]
    subtract_both(b, zero, a, weight)
    return value


@njit(**OPTIONS)
def zinb_cell(
    x, base, factor, genes, counts, log_theta, theta, zi_logits, mu, zero, a, b, z, spare, weight
):
    """Log likelihood of a cell under the ZINB; ``z`` is its weighted derivative by zi_logits."""
    log_pi, excess, by_theta = spare[0], spare[1], spare[2]
    nb_zeros(mu, factor, theta[0], theta[1], zero, a)
    inflation(zi_logits, log_pi, z)
    inflated_zeros(zi_logits, zero, excess, by_theta)
    inflated_gradients(by_theta, zero, a, z)
    for k in range(genes.shape[0]):
        j, count = genes[k], np.float64(counts[k])
        if count != 0.0:
            log_prob, by_mu, by_t = nb_count(
                count,
                x[j] + base,
                np.float64(mu[j]),
                np.float64(log_theta[j]),
                np.float64(theta[0, j]),
                1.0 / theta[0, j],
                np.float64(zero[j]),
            )
            excess[j] = np.float32(log_prob - zi_logits[j])
            a[j], by_theta[j] = np.float32(by_mu), np.float32(by_t)
            z[j] = np.float32(-math.exp(log_pi[j]))
    add_to(b, by_theta, weight)
    scale_all(z, weight)
    return row_sum(log_pi) + row_sum(excess)


# -- the kernel -------------------------------------------------------------------------------


@cfunc(types.void(types.voidptr), cache=True, **OPTIONS)
def log_likelihood(arguments):
    """Log likelihood of each cell and its gradients; ``_likelihoods.py`` has the arguments."""
    given = carray(arguments, 24, np.int64)
    n_parts, place = given[1], next_number(pointer(given[23]))
    n_cells, n_rows, n_genes, n_theta = given[2], given[3], given[4], given[5]
    family, softmax, want_gradient = given[6], given[7] != 0, given[8] != 0
    n_kept = n_rows if want_gradient else 0
    n_zi = n_rows if family == ZINB else 0

    logits = carray(pointer(given[9]), (n_rows, n_genes), np.float32)
    log_library = carray(pointer(given[10]), n_rows, np.float32)
    log_theta = carray(pointer(given[11]), (n_theta, n_genes), np.float32)
    zi_logits = carray(pointer(given[12]), (n_zi, n_genes), np.float32)
    starts = carray(pointer(given[13]), n_cells + 1, np.int32)
    genes = carray(pointer(given[14]), starts[n_cells], np.int32)
    counts = carray(pointer(given[15]), starts[n_cells], np.float32)
    weights = carray(pointer(given[16]), n_rows, np.float32)
    value = carray(pointer(given[17]), n_rows, np.float32)
    by_logits = carray(pointer(given[18]), (n_kept, n_genes), np.float32)
    by_library = carray(pointer(given[19]), n_kept, np.float32)
    by_theta = carray(pointer(given[20]), (max(n_theta, n_parts), n_genes), np.float32)
    by_zi = carray(pointer(given[21]), (min(n_kept, n_zi), n_genes), np.float32)
    scratch = carray(pointer(given[22]), (place + 1, 10, n_genes), np.float32)[place]

    mu, zero, theta, spare = scratch[0], scratch[1], scratch[2:4], scratch[4:7]
    if family != POISSON and n_theta == 1:
        exponentials(log_theta[0], theta[0], theta[1])
    # The reference clamps Poisson means (LOG_MU_MAX).
    log_mean_max = 30.0 if family == POISSON else LOG_MEAN_MAX
    part = next_number(arguments)
    while part < n_parts:
        start, stop = share(part, n_parts, n_cells)
        for cell in range(start, stop):
            nonzero = slice(starts[cell], starts[cell + 1])
            for row in range(cell, n_rows, n_cells):
                x, weight, t = logits[row], weights[row], row % n_theta
                a = by_logits[row] if want_gradient else scratch[7]
                b = by_theta[part if n_theta == 1 else t] if want_gradient else scratch[8]
                z = by_zi[row] if want_gradient and family == ZINB else scratch[9]
                if family != POISSON and n_theta > 1:
                    exponentials(log_theta[t], theta[0], theta[1])

                largest, base = row_max(x, mu), np.float64(log_library[row])
                total = exp_all(x, largest, mu)
                log_mu_max = base if softmax else base + largest
                if not (math.isfinite(row_sum(x)) and abs(log_mu_max) <= log_mean_max):
                    value[row] = np.nan
                    continue
                if softmax:
                    base -= largest + math.log(total)
                factor = np.float32(math.exp(base + largest))

                if family == POISSON:
                    v = poisson_cell(x, base, factor, genes[nonzero], counts[nonzero], mu, a)
                elif family == NB:
                    v = nb_cell(
                        x, base, factor, genes[nonzero], counts[nonzero], log_theta[t], theta,
                        mu, zero, a, b, weight,
                    )  # fmt: skip
                else:
                    v = zinb_cell(
                        x, base, factor, genes[nonzero], counts[nonzero], log_theta[t], theta,
                        zi_logits[row], mu, zero, a, b, z, spare, weight,
                    )  # fmt: skip
                value[row] = np.float32(v)
                if want_gradient:
                    sum_a = row_sum(a)
                    by_library[row] = weight * np.float32(sum_a)
                    correction = np.float32(sum_a / (factor * total)) if softmax else ZERO
                    through_softmax(a, mu, correction, weight)
        part = next_number(arguments)
