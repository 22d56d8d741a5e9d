"""Compiled log likelihoods of many states of the same cells, and their gradients by the logits.

As in ``_compiled_likelihoods.py``, a kernel is a C function of the address of its arguments, and
the threads of a team take rows, one after the other, until none is left. What depends on counts
and dispersions alone is not computed here: a cell's gamma functions are the same in all states.
"""

# Nothing here is annotated: numba infers the types.
# mypy: ignore-errors

import math

import numpy as np

from lucidvi.kernels._arithmetic import (
    ONE,
    ZERO,
    doubles,
    exp,
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
    share,
    wide,
)
from lucidvi.kernels._compile import OPTIONS, compiled, inlined, kernel, part
from lucidvi.kernels._compiled_likelihoods import (
    inflated_gradients,
    inflated_zeros,
    inflation,
    is_ascending,
    nb_zeros,
)

#: Counts above this may all but cancel with their mean, so that float32 would not do.
LARGE = 64.0
#: Log means beyond these are left to the reference, which takes more care.
LOG_MEAN_MAX, LOG_POISSON_MAX = 60.0, 30.0
#: Sums of exponentials, relative to another state's largest, that have lost nothing.
TOTAL_MIN, TOTAL_MAX = 1e-6, 1e24
#: Genes whose terms are added up in float32, and rows and blocks of scratch memory that a thread
#: needs.
BLOCK, N_ROWS, N_BLOCKS = 512, 4, 7


@part
def total_of(x, n):
    """Sum, in float64 of sums of blocks."""
    wide()
    total = 0.0
    for start in range(0, n, BLOCK):
        block, of_block = floats(x, start), ZERO
        for i in range(min(BLOCK, n - start)):
            of_block += block[i]
        total += np.float64(of_block)
    return total


@part
def exponentials(x, n, largest, out):
    """Exponentials relative to a number, and their sum."""
    wide()
    for i in range(n):
        out[i] = exp(x[i] - largest)
    return total_of(out, n)


@inlined
def poisson_row(
    base, factor, genes, counts, n_counts, at_counts, theta, n, mu, spare, blocks, zi_logits,
    out, want_gradient,
):  # fmt: skip
    """Log likelihood up to the factorials; ``out`` is the derivative by the log mean."""
    for i in range(n):
        out[i] = -mu[i] * factor
    value = total_of(out, n)
    for k in range(n_counts):
        j, count = genes[k], np.float64(counts[k])
        log_mu, mean = at_counts[k] + base, -np.float64(out[j])
        if count > LARGE:
            value += mean
            mean = math.exp(log_mu)
            value -= mean
        value += count * log_mu
        out[j] = np.float32(count - mean)
    return value


@inlined
def nb_row(
    base, factor, genes, counts, n_counts, at_counts, theta, n, mu, log_ratio, blocks, zi_logits,
    out, want_gradient,
):  # fmt: skip
    r"""Log likelihood up to what is the same in all states; ``out`` as in :func:`poisson_row`.

    .. math:: \sum_g x_g \log \mu_g - (\theta_g + x_g) \log(1 + \mu_g / \theta_g)
    """
    reciprocal_theta, value = floats(theta, n), 0.0
    for start in range(0, n, BLOCK):
        of_block = ZERO
        means, reciprocal = floats(mu, start), floats(reciprocal_theta, start)
        of_theta, ratios, by_mu = (
            floats(theta, start),
            floats(log_ratio, start),
            floats(out, start),
        )
        size = min(BLOCK, n - start)
        for i in range(size):
            m = means[i] * factor
            ratio = m * reciprocal[i]
            ratios[i] = log1p(ratio, ONE + ratio)
            of_block -= of_theta[i] * ratios[i]
        if want_gradient:
            for i in range(size):
                m = means[i] * factor
                by_mu[i] = quotient(-m, ONE + m * reciprocal[i])
        value += np.float64(of_block)
    for k in range(n_counts):
        j, count = genes[k], np.float64(counts[k])
        log_mu, at_theta = at_counts[k] + base, np.float64(theta[j])
        mean, log_u = np.float64(mu[j] * factor), np.float64(log_ratio[j])
        if count > LARGE:
            mean = math.exp(log_mu)
            value += at_theta * log_u
            log_u = math.log1p(mean / at_theta)
            value -= at_theta * log_u
        value += count * (log_mu - log_u)
        if want_gradient:
            out[j] = np.float32((count - mean) * at_theta / (at_theta + mean))
    return value


@inlined
def zinb_row(
    base, factor, genes, counts, n_counts, at_counts, theta, n, mu, at_zi, blocks, zi_logits,
    out, want_gradient,
):  # fmt: skip
    """Log likelihood up to the same; the derivative by the log odds takes their place."""
    means, zeros, log_probs = floats(blocks, 0), floats(blocks, BLOCK), floats(blocks, 2 * BLOCK)
    by_theta, nb = floats(blocks, 3 * BLOCK), floats(blocks, 4 * BLOCK)
    pi, rest = floats(blocks, 5 * BLOCK), floats(blocks, 6 * BLOCK)
    value, k, ascending, n_low = 0.0, 0, is_ascending(genes, n_counts), ZERO
    for other in range(n_counts):
        at_zi[other] = zi_logits[genes[other]]
    for start in range(0, n, BLOCK):
        size, relative = min(BLOCK, n - start), floats(mu, start)
        of_theta, reciprocal = floats(theta, start), floats(theta, n + start)
        by_mu, by_zi = floats(out, start), floats(zi_logits, start)
        for i in range(size):
            means[i] = relative[i]
        nb_zeros(means, size, factor, of_theta, reciprocal, zeros, by_mu)
        n_low += inflation(by_zi, size, pi, rest)
        inflated_zeros(pi, rest, size, zeros, nb, log_probs)
        value += total_of(log_probs, size)
        if want_gradient:
            inflated_gradients(pi, rest, size, zeros, nb, by_mu, by_theta, by_zi, ONE)
        k = k if ascending else 0
        while k < n_counts:
            i, count, number = genes[k] - start, np.float64(counts[k]), k
            if i >= size and ascending:
                break
            k += 1
            if not 0 <= i < size or count == 0.0:
                continue
            log_mu, at_theta = at_counts[number] + base, np.float64(of_theta[i])
            mean, log_u = np.float64(means[i]), np.float64(zeros[i] * reciprocal[i])
            if count > LARGE:
                mean = math.exp(log_mu)
                log_u = math.log1p(mean / at_theta)
            # log(1 - pi), also where that is no float32 number
            zi, likelier = at_zi[number], pi[i] if pi[i] > rest[i] else rest[i]
            log_rest = log1p(likelier - ONE, likelier) - (zi if zi > ZERO else ZERO)
            value += count * (log_mu - log_u) - at_theta * log_u + log_rest - log_probs[i]
            if want_gradient:
                by_mu[i] = np.float32((count - mean) * at_theta / (at_theta + mean))
                by_zi[i] = -pi[i]
    return np.nan if n_low > ZERO else value


@inlined
def each_row(arguments, likelihood, limit):
    """Log likelihoods of rows of logits, which become gradients; ``_states.py`` calls it."""
    wide()
    given = int64s(arguments, 0)
    n_parts, place = given[1], next_number(pointer(given[18]))
    n, per_cell, n_theta = given[3], given[4], given[5]
    n_rows, want_gradient = given[2] * per_cell, given[6] != 0
    n_outputs = given[7]
    log_library, starts = floats(given[9], 0), int32s(given[11], 0)
    constant = doubles(given[14], 0)
    value, by_library = floats(given[15], 0), floats(given[16], 0)
    scratch = given[17] + 4 * place * (N_ROWS * n + N_BLOCKS * BLOCK)
    blocks = floats(scratch, N_ROWS * n)
    mu, spare, at_counts = floats(scratch, 0), floats(scratch, n), floats(scratch, 2 * n)
    number = next_number(arguments)
    while number < n_parts:
        start, stop = share(number, n_parts, n_rows)
        largest = row_max(floats(given[8], start * n_outputs), n, mu)
        for row in range(start, stop):
            cell = row // per_cell
            first = np.int64(starts[cell])
            n_counts = starts[cell + 1] - first
            genes, counts = int32s(given[12], first), floats(given[13], first)
            x = floats(given[8], row * n_outputs)
            total = exponentials(x, n, largest, mu)
            if not (TOTAL_MIN < total < TOTAL_MAX):
                largest = row_max(x, n, mu)
                total = exponentials(x, n, largest, mu)
            base = np.float64(log_library[row])
            if not (math.isfinite(total) and abs(base) <= limit):
                value[row] = np.nan
                continue
            base -= largest + math.log(total)
            factor = np.float32(math.exp(base + largest))
            for k in range(n_counts):
                at_counts[k] = x[genes[k]]
            out = floats(scratch, 3 * n)
            if want_gradient:
                out = x
            theta = floats(given[10], (cell % n_theta if n_theta > 0 else 0) * 2 * n)
            v = likelihood(
                base, factor, genes, counts, n_counts, at_counts, theta, n,
                mu, spare, blocks, floats(x, n), out, want_gradient,
            )  # fmt: skip
            value[row] = np.float32(v + constant[cell])
            if want_gradient:
                by_base = total_of(out, n)
                by_library[row] = np.float32(by_base)
                # from the derivative by the log mean to that by the logits
                correction = np.float32(by_base / total)
                for i in range(n):
                    x[i] -= mu[i] * correction
        number = next_number(arguments)


@kernel
def poisson(arguments):
    each_row(arguments, poisson_row, LOG_POISSON_MAX)


@kernel
def nb(arguments):
    each_row(arguments, nb_row, LOG_MEAN_MAX)


@kernel
def zinb(arguments):
    each_row(arguments, zinb_row, LOG_MEAN_MAX)


#: The families that are compiled, by name.
KERNELS = {"poisson": poisson, "nb": nb, "zinb": zinb}


def n_scratch(n_genes):
    """How many numbers of scratch memory a thread needs."""
    return N_ROWS * n_genes + N_BLOCKS * BLOCK


@compiled(**OPTIONS)
def constants(starts, genes, counts, log_theta, out):
    r"""Sum what is the same in all states of a cell, shape ``(n_cells,)``.

    .. math:: \sum_g \log\frac{\Gamma(x_g + \theta_g)}{\Gamma(\theta_g)} - x_g \log \theta_g
        - \log x_g!

    of a negative binomial, inflated or not, the last term alone of a Poisson, which has no
    ``log_theta``.
    """
    for cell in range(out.shape[0]):
        total = 0.0
        for k in range(starts[cell], starts[cell + 1]):
            x = np.float64(counts[k])
            total -= log_factorial(x)
            if log_theta.shape[0] and x != 0.0:
                at = np.float64(log_theta[cell % log_theta.shape[0], genes[k]])
                log_rising = at if x == 1.0 else rising(x, math.exp(at))[0]
                total += log_rising - x * at
        out[cell] = total
