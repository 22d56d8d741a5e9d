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

from lucidvi.kernels._arithmetic import (
    ONE,
    ZERO,
    exp,
    floats,
    int32s,
    int64s,
    log1p,
    log_factorial,
    next_number,
    pointer,
    rising,
    row_max,
    row_sum,
    share,
)
from lucidvi.kernels._compile import inlined, kernel, part

# -- one cell: terms of the zeros, then of the counts -----------------------------------------
# Arrays of a cell, all of length n: `mu` the mean, `zero` minus the log probability of a zero
# under the NB, `a` the derivative by log_mu, `b` that by log_theta.

#: Counts above this may all but cancel with their mean, so that float32 would not do.
LARGE = 64.0
#: Log means beyond these are left to the reference, which takes more care; that of a Poisson
#: clamps them (LOG_MU_MAX).
LOG_MEAN_MAX, LOG_POISSON_MEAN_MAX = 60.0, 30.0


@part
def exp_all(x, n, largest, out):
    """Exponentials relative to the largest, and their sum."""
    for i in range(n):
        out[i] = exp(x[i] - largest)
    return row_sum(out, n)


@inlined
def nb_zeros(mu, n, factor, theta, reciprocal_theta, zero, a):
    """Scale the means; -log NB(0) and its derivative by log_mu."""
    for i in range(n):
        m = mu[i] * factor
        ratio = m * reciprocal_theta[i]
        u = ONE + ratio
        reciprocal = ONE / u
        mu[i] = m
        a[i] = -m * reciprocal
        zero[i] = log1p(ratio, u)
    for i in range(n):
        zero[i] *= theta[i]


@part
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


@inlined
def zinb_zeros(zi_logits, n, log_pi, excess, zero, a, by_theta, z):
    """Terms of an inflated zero, from those of the NB; ``z`` is the derivative by zi_logits.

    Where one of two is taken, NaN stays NaN, which ``log1p`` does not see to.
    They are the log probability of inflation, and log(1 + NB(0) / odds of inflation).
    """
    for i in range(n):
        zi = zi_logits[i]
        e = exp(-abs(zi))
        reciprocal = ONE / (ONE + e)
        log_pi[i] = (ZERO if zi >= ZERO else zi) - log1p(e, ONE + e)
        z[i] = (e if zi >= ZERO else ONE) * reciprocal
    for i in range(n):
        y = -zero[i] - zi_logits[i]
        e = exp(-abs(y))
        reciprocal = ONE / (ONE + e)
        excess[i] = (ZERO if y <= ZERO else y) + log1p(e, ONE + e)
        by_theta[i] = (ONE if y >= ZERO else e) * reciprocal
    for i in range(n):
        s = by_theta[i]  # the share of the zeros that the NB explains
        z[i] -= s
        by_theta[i] = -s * (zero[i] + a[i])
        a[i] *= s


@part
def exponentials(log_theta, n, theta, reciprocal_theta):
    for i in range(n):
        theta[i] = exp(log_theta[i])
        reciprocal_theta[i] = exp(-log_theta[i])


# -- one cell, by family ----------------------------------------------------------------------
# Counts `n_counts` in `genes`; the means are `factor` times what `mu` holds, their logs `base`
# more than `x`. Each returns the log likelihood.


@inlined
def poisson_cell(
    x, n, base, factor, genes, counts, n_counts, log_theta, theta, reciprocal_theta, zi_logits,
    mu, zero, a, b, z, spare, weight,
):  # fmt: skip
    """Log likelihood of a cell under the Poisson; ``a`` is its derivative by log_mu."""
    for i in range(n):
        mu[i] *= factor
        a[i] = -mu[i]
    value = -row_sum(mu, n)
    for k in range(n_counts):
        j, count = genes[k], np.float64(counts[k])
        log_mu = x[j] + base
        value += count * log_mu - log_factorial(count)
        mean = math.exp(log_mu) if count > LARGE else np.float64(mu[j])
        value += mu[j] - mean
        a[j] = np.float32(count - mean)
    return value


@inlined
def nb_cell(
    x, n, base, factor, genes, counts, n_counts, log_theta, theta, reciprocal_theta, zi_logits,
    mu, zero, a, b, z, spare, weight,
):  # fmt: skip
    """Log likelihood of a cell under the NB; adds its weighted derivative by log_theta to b."""
    nb_zeros(mu, n, factor, theta, reciprocal_theta, zero, a)
    value = -row_sum(zero, n)
    for k in range(n_counts):
        j, count = genes[k], np.float64(counts[k])
        if count != 0.0:
            log_prob, by_mu, by_theta = nb_count(
                count,
                x[j] + base,
                np.float64(mu[j]),
                np.float64(log_theta[j]),
                np.float64(theta[j]),
                1.0 / theta[j],
                np.float64(zero[j]),
            )
            value += log_prob + zero[j]
            a[j] = np.float32(by_mu)
            zero[j] = np.float32(-by_theta) - a[j]
    for i in range(n):
        b[i] -= weight * (zero[i] + a[i])
    return value


@inlined
def zinb_cell(
    x, n, base, factor, genes, counts, n_counts, log_theta, theta, reciprocal_theta, zi_logits,
    mu, zero, a, b, z, spare, weight,
):  # fmt: skip
    """Log likelihood of a cell under the ZINB; ``z`` is its weighted derivative by zi_logits."""
    log_pi, excess, by_theta = floats(spare, 0), floats(spare, n), floats(spare, 2 * n)
    nb_zeros(mu, n, factor, theta, reciprocal_theta, zero, a)
    zinb_zeros(zi_logits, n, log_pi, excess, zero, a, by_theta, z)
    for k in range(n_counts):
        j, count = genes[k], np.float64(counts[k])
        if count != 0.0:
            log_prob, by_mu, by_t = nb_count(
                count,
                x[j] + base,
                np.float64(mu[j]),
                np.float64(log_theta[j]),
                np.float64(theta[j]),
                1.0 / theta[j],
                np.float64(zero[j]),
            )
            excess[j] = np.float32(log_prob - zi_logits[j])
            a[j], by_theta[j] = np.float32(by_mu), np.float32(by_t)
            z[j] = np.float32(-math.exp(log_pi[j]))
    for i in range(n):
        b[i] += weight * by_theta[i]
        z[i] *= weight
    return row_sum(log_pi, n) + row_sum(excess, n)


# -- the kernels: one a family, so that a training compiles its own ---------------------------


@inlined
def each_cell(arguments, cell, log_mean_max):
    """Log likelihood of each cell and its gradients; ``_likelihoods.py`` has the arguments."""
    given = int64s(arguments, 0)
    n_parts, place = given[1], next_number(pointer(given[23]))
    n_cells, n_rows, n, n_theta, n_zi = given[2], given[3], given[4], given[5], given[6]
    softmax, want_gradient = given[7] != 0, given[8] != 0
    log_library, weights = floats(given[10], 0), floats(given[16], 0)
    starts = int32s(given[13], 0)
    value, by_library = floats(given[17], 0), floats(given[19], 0)
    # Rows of scratch memory: the mean, log p(0), theta and its reciprocal, three spare ones, and
    # the gradients where they are not wanted.
    scratch = given[22] + 40 * place * n
    mu, zero, theta, reciprocal_theta = (
        floats(scratch, 0), floats(scratch, n), floats(scratch, 2 * n), floats(scratch, 3 * n)
    )  # fmt: skip
    exponentiated = np.int64(-1)  # row of log_theta
    number = next_number(arguments)
    while number < n_parts:
        start, stop = share(number, n_parts, n_cells)
        for cell_number in range(start, stop):
            first = np.int64(starts[cell_number])
            n_counts = starts[cell_number + 1] - first
            genes, counts = int32s(given[14], first), floats(given[15], first)
            for row in range(cell_number, n_rows, n_cells):
                x, weight = floats(given[9], row * n), weights[row]
                t = row % n_theta if n_theta > 1 else np.int64(0)
                log_theta, zi_logits = floats(given[11], t * n), floats(given[12], row * n)
                a, b, z = floats(scratch, 7 * n), floats(scratch, 8 * n), floats(scratch, 9 * n)
                if want_gradient:
                    a = floats(given[18], row * n)
                    b = floats(given[20], (t if n_theta > 1 else number) * n)
                    if n_zi > 0:
                        z = floats(given[21], row * n)
                if n_theta > 0 and t != exponentiated:
                    exponentials(log_theta, n, theta, reciprocal_theta)
                    exponentiated = t

                largest, base = row_max(x, n), np.float64(log_library[row])
                total = exp_all(x, n, largest, mu)
                log_mu_max = base if softmax else base + largest
                if not (math.isfinite(row_sum(x, n)) and abs(log_mu_max) <= log_mean_max):
                    value[row] = np.nan
                    continue
                if softmax:
                    base -= largest + math.log(total)
                factor = np.float32(math.exp(base + largest))
                value[row] = cell(
                    x, n, base, factor, genes, counts, n_counts,
                    log_theta, theta, reciprocal_theta, zi_logits,
                    mu, zero, a, b, z, scratch + 16 * n, weight,
                )  # fmt: skip
                if want_gradient:
                    sum_a = row_sum(a, n)
                    by_library[row] = weight * np.float32(sum_a)
                    # from the derivative by the log mean to that by the logits, weighted
                    correction = np.float32(sum_a / (factor * total)) if softmax else ZERO
                    for i in range(n):
                        a[i] = weight * (a[i] - mu[i] * correction)
        number = next_number(arguments)


@kernel
def poisson(arguments):
    each_cell(arguments, poisson_cell, LOG_POISSON_MEAN_MAX)


@kernel
def nb(arguments):
    each_cell(arguments, nb_cell, LOG_MEAN_MAX)


@kernel
def zinb(arguments):
    each_cell(arguments, zinb_cell, LOG_MEAN_MAX)


#: The families that are compiled for the CPU, by name; their parameters are a log inverse
#: dispersion and log odds of zero inflation.
KERNELS = {"poisson": poisson, "nb": nb, "zinb": zinb}
