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
    EXP_MAX,
    LOG_FACTORIAL,
    ONE,
    ZERO,
    exp,
    exp_within,
    floats,
    int32s,
    int64s,
    log1p,
    log_factorial,
    next_number,
    pointer,
    quotient,
    rising,
    row_max,
    row_sum,
    share,
    wide,
)
from lucidvi.kernels._compile import inlined, kernel, part

# -- one cell: terms of the zeros, then of the counts -----------------------------------------
# Arrays of a cell, all of length n: `mu` the mean, `a` the derivative by log_mu, `b` that by
# log_theta, `z` that by the log odds of inflation; of a block of its genes, `zero` minus the log
# probability of a zero under the NB.

#: Counts above this may all but cancel with their mean, so that float32 would not do.
LARGE = 64.0
#: Log means beyond these are left to the reference, which takes more care; that of a Poisson
#: clamps them (LOG_MU_MAX).
LOG_MEAN_MAX, LOG_POISSON_MEAN_MAX = 60.0, 30.0
#: So are log odds of inflation below minus this: a zero that is too rare for a float32 number
#: has to be rare beside an inflated one.
ZI_MAX = np.float32(69.0)
#: Counts up to this are looked up, for at least so many cells.
N_SHORT, N_WORTH = 8, 8
SHORT = np.float32(N_SHORT)
#: Genes a block, and rows and blocks of scratch memory that a thread needs.
BLOCK, N_ROWS, N_BLOCKS = 512, 6 + 2 * N_SHORT, 6


@part
def exp_all(x, n, largest, out):
    """Exponentials relative to the largest, and their sum."""
    wide()
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
        mu[i] = m
        a[i] = quotient(-m, u)
        zero[i] = log1p(ratio, u)
    for i in range(n):
        zero[i] *= theta[i]


@inlined
def nb_count(count, log_mu, mean, log_theta, theta, reciprocal_theta, zero, short, table, n):
    """Log NB(count), and its derivatives by log_mu and log_theta.

    In float64, but for short products and what comes of numbers that are float32 anyway.
    """
    ratio = np.float64(mean) * reciprocal_theta
    log_ratio = np.float64(zero) * reciprocal_theta
    if count <= short and count == np.int32(count):
        k = np.int32(count)
        by_mu = (count - mean) * (ONE / (ONE + np.float32(ratio)))
        log_prob = table[(k - 1) * n] + count * (log_mu - log_ratio) - LOG_FACTORIAL[k]
        return log_prob - zero, by_mu, table[(N_SHORT + k - 1) * n] - zero - by_mu
    x, mu, t = np.float64(count), np.float64(mean), np.float64(theta)
    if x > LARGE:
        mu, t = math.exp(log_mu), math.exp(np.float64(log_theta))
        ratio = mu / t
        log_ratio = math.log1p(ratio)
    log_rising, derivative = rising(x, t)
    value = log_rising + x * (log_mu - log_theta - log_ratio) - log_factorial(x)
    by_mu = (x - mu) / (1.0 + ratio)
    by_theta = t * (derivative - log_ratio) - by_mu
    return value - t * log_ratio, np.float32(by_mu), np.float32(by_theta)


@inlined
def inflation(zi_logits, n, pi, rest):
    """Probability of inflation, and one minus that; returns how many are out of range."""
    n_low = ZERO
    for i in range(n):
        zi = zi_logits[i]
        size = abs(zi)
        e = exp_within(-(EXP_MAX if size > EXP_MAX else size))
        one_of_both = quotient(ONE, ONE + e)
        pi[i] = (ONE if zi >= ZERO else e) * one_of_both
        rest[i] = (e if zi >= ZERO else ONE) * one_of_both
        n_low += ONE if zi < -ZI_MAX else ZERO
    return n_low


@inlined
def inflated_zeros(pi, rest, n, zero, nb, log_prob):
    """NB(0), and the log probability of an inflated zero."""
    for i in range(n):
        z = zero[i]
        nb[i] = ZERO if z > EXP_MAX else exp_within(-z)
    for i in range(n):
        change = rest[i] * (nb[i] - ONE)
        log_prob[i] = log1p(change, pi[i] + rest[i] * nb[i]) + ZERO * change  # NaN stays NaN


@inlined
def inflated_gradients(pi, rest, n, zero, nb, a, by_theta, z, weight):
    """Find its derivatives: by log_mu, log_theta, and, weighted, the log odds of inflation."""
    for i in range(n):
        total = quotient(ONE, pi[i] + rest[i] * nb[i])
        z[i] = weight * (pi[i] * rest[i] * (ONE - nb[i]) * total)
        nb[i] *= rest[i] * total  # the share of the zeros that the NB explains
    for i in range(n):
        by_theta[i] = -nb[i] * (zero[i] + a[i])
        a[i] *= nb[i]


@part
def short_rising(reciprocal_theta, n, table):
    """Write what short counts need of theta: ``N_SHORT`` rows of logs, then of derivatives.

    Of a count ``x`` these are log Gamma(x + theta) / (Gamma(theta) theta^x) and the derivative of
    log Gamma(x + theta) / Gamma(theta) by log theta: the sums of log(1 + k / theta) and of
    1 / (1 + k / theta) over the ``k`` below ``x``.
    """
    wide()
    logs, slopes = floats(table, 0), floats(table, N_SHORT * n)
    for i in range(n):
        logs[i] = ZERO
        slopes[i] = ONE
    for k in range(1, N_SHORT):
        more_logs, more_slopes = floats(logs, n), floats(slopes, n)
        for i in range(n):
            y = np.float32(k) * reciprocal_theta[i]
            more_logs[i] = logs[i] + log1p(y, ONE + y)
        for i in range(n):
            more_slopes[i] = slopes[i] + quotient(ONE, ONE + np.float32(k) * reciprocal_theta[i])
        logs, slopes = more_logs, more_slopes


@part
def exponentials(log_theta, n, theta, reciprocal_theta):
    wide()
    for i in range(n):
        theta[i] = exp(log_theta[i])
        reciprocal_theta[i] = exp(-log_theta[i])


# -- one cell, by family ----------------------------------------------------------------------
# Counts `n_counts` in `genes`; the means are `factor` times what `mu` holds, their logs `base`
# more than `x`. Each returns the log likelihood.


@inlined
def poisson_cell(
    x, n, base, factor, genes, counts, n_counts, log_theta, theta, reciprocal_theta, zi_logits,
    mu, a, b, z, blocks, weight, short, table,
):  # fmt: skip
    """Log likelihood of a cell under the Poisson; ``a`` is its derivative by log_mu."""
    wide()
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


@part
def is_ascending(genes, n):
    descents = 0
    for k in range(1, n):
        descents += genes[k] < genes[k - 1]
    return descents == 0


@inlined
def nb_cell(
    x, n, base, factor, genes, counts, n_counts, log_theta, theta, reciprocal_theta, zi_logits,
    mu, a, b, z, blocks, weight, short, table,
):  # fmt: skip
    """Log likelihood of a cell under the NB; adds its weighted derivative by log_theta to b."""
    wide()
    value, k, ascending = 0.0, 0, is_ascending(genes, n_counts)
    for start in range(0, n, BLOCK):  # of genes, so that their numbers stay in the nearest cache
        size = min(BLOCK, n - start)
        zeros, by_mu, total = floats(blocks, 0), floats(a, start), floats(b, start)
        means, ratio = floats(mu, start), floats(reciprocal_theta, start)
        nb_zeros(means, size, factor, floats(theta, start), ratio, zeros, by_mu)
        for i in range(size):
            total[i] -= weight * (zeros[i] + by_mu[i])
        value -= row_sum(zeros, size)
        k = k if ascending else 0
        while k < n_counts:
            i, count = genes[k] - start, counts[k]
            if i >= size and ascending:
                break
            k += 1
            if not 0 <= i < size or count == ZERO:
                continue
            log_prob, by_log_mu, by_log_theta = nb_count(
                count, x[start + i] + base, means[i], log_theta[start + i], theta[start + i],
                ratio[i], zeros[i], short, floats(table, start + i), n,
            )  # fmt: skip
            value += log_prob + zeros[i]
            total[i] += weight * (by_log_theta + zeros[i] + by_mu[i])
            by_mu[i] = by_log_mu
    return value


@inlined
def zinb_cell(
    x, n, base, factor, genes, counts, n_counts, log_theta, theta, reciprocal_theta, zi_logits,
    mu, a, b, z, blocks, weight, short, table,
):  # fmt: skip
    """Log likelihood of a cell under the ZINB; ``z`` is its weighted derivative by zi_logits."""
    wide()
    value, k, ascending, n_low = 0.0, 0, is_ascending(genes, n_counts), ZERO
    zeros, log_probs = floats(blocks, 0), floats(blocks, BLOCK)
    by_theta, nb = floats(blocks, 2 * BLOCK), floats(blocks, 3 * BLOCK)
    pi, rest = floats(blocks, 4 * BLOCK), floats(blocks, 5 * BLOCK)
    for start in range(0, n, BLOCK):
        size = min(BLOCK, n - start)
        by_mu, total, by_zi = floats(a, start), floats(b, start), floats(z, start)
        means, ratio = floats(mu, start), floats(reciprocal_theta, start)
        nb_zeros(means, size, factor, floats(theta, start), ratio, zeros, by_mu)
        n_low += inflation(floats(zi_logits, start), size, pi, rest)
        inflated_zeros(pi, rest, size, zeros, nb, log_probs)
        inflated_gradients(pi, rest, size, zeros, nb, by_mu, by_theta, by_zi, weight)
        for i in range(size):
            total[i] += weight * by_theta[i]
        value += row_sum(log_probs, size)
        k = k if ascending else 0
        while k < n_counts:
            i, count = genes[k] - start, counts[k]
            if i >= size and ascending:
                break
            k += 1
            if not 0 <= i < size or count == ZERO:
                continue
            log_prob, by_log_mu, by_log_theta = nb_count(
                count, x[start + i] + base, means[i], log_theta[start + i], theta[start + i],
                ratio[i], zeros[i], short, floats(table, start + i), n,
            )  # fmt: skip
            # log(1 - pi), also where that is no float32 number
            zi, likelier = zi_logits[start + i], pi[i] if pi[i] > rest[i] else rest[i]
            value += log_prob + log1p(likelier - ONE, likelier) - log_probs[i]
            value -= zi if zi > ZERO else ZERO
            total[i] += weight * (by_log_theta - by_theta[i])
            by_zi[i] = -weight * pi[i]
            by_mu[i] = by_log_mu
    return np.nan if n_low > ZERO else value


# -- the kernels: one a family, so that a training compiles its own ---------------------------


@inlined
def each_cell(arguments, cell, log_mean_max):
    """Log likelihood of each cell and its gradients; ``_likelihoods.py`` has the arguments."""
    wide()
    given = int64s(arguments, 0)
    n_parts, place = given[1], next_number(pointer(given[23]))
    n_cells, n_rows, n, n_theta, n_zi = given[2], given[3], given[4], given[5], given[6]
    softmax, want_gradient = given[7] != 0, given[8] != 0
    log_library, weights = floats(given[10], 0), floats(given[16], 0)
    starts = int32s(given[13], 0)
    value, by_library = floats(given[17], 0), floats(given[19], 0)
    # Scratch memory: rows of means, theta and its reciprocal, of gradients that are not wanted,
    # and of a table; then blocks.
    scratch = given[22] + 4 * place * (N_ROWS * n + N_BLOCKS * BLOCK)
    mu, theta, reciprocal_theta = floats(scratch, 0), floats(scratch, n), floats(scratch, 2 * n)
    table, blocks = floats(scratch, 6 * n), floats(scratch, N_ROWS * n)
    short = SHORT if n_theta == 1 and n_cells >= N_WORTH else ZERO
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
                a, b, z = floats(scratch, 3 * n), floats(scratch, 4 * n), floats(scratch, 5 * n)
                if want_gradient:
                    a = floats(given[18], row * n)
                    b = floats(given[20], (t if n_theta > 1 else number) * n)
                    if n_zi > 0:
                        z = floats(given[21], row * n)
                if n_theta > 0 and t != exponentiated:
                    exponentials(log_theta, n, theta, reciprocal_theta)
                    exponentiated = t
                    if short > ZERO:
                        short_rising(reciprocal_theta, n, table)

                largest, base = row_max(x, n, mu), np.float64(log_library[row])
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
                    mu, a, b, z, blocks, weight, short, table,
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


def n_scratch(n_genes):
    """How many numbers of scratch memory a thread needs."""
    return N_ROWS * n_genes + N_BLOCKS * BLOCK
