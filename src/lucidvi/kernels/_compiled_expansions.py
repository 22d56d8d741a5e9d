"""Compiled slopes and curvatures of log likelihoods along some directions of a cell's outputs.

As in ``_compiled_states.py``, threads of a team take cells, one after the other. Of a cell there
are the outputs at one state, and how they change along each direction.
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
    next_number,
    pointer,
    row_max,
    share,
    wide,
)
from lucidvi.kernels._compile import inlined, kernel, part
from lucidvi.kernels._compiled_states import LOG_MEAN_MAX, LOG_POISSON_MAX, exponentials, total_of

#: Genes of which products with directions are held at once, and rows of scratch memory of a
#: thread: means, and slopes and curvatures by the log mean, by the other output, and in both.
BLOCK, N_ROWS = 512, 6


@part
def product_of(x, y, n):
    """Sum of products."""
    wide()
    total = ZERO
    for i in range(n):
        total += x[i] * y[i]
    return total


@part
def times(x, y, n, out):
    wide()
    for i in range(n):
        out[i] = x[i] * y[i]


@part
def times_both(x, y, other_x, other_y, n, out):
    """``x y + other_x other_y``."""
    wide()
    for i in range(n):
        out[i] = x[i] * y[i] + other_x[i] * other_y[i]


@part
def add(x, n, number):
    wide()
    for i in range(n):
        x[i] += number


@part
def add_multiple(x, y, n, number):
    wide()
    for i in range(n):
        x[i] += number * y[i]


@part
def poisson_terms(
    base, factor, genes, counts, n_counts, x, theta, n, mu, slope, bend, by_zi, both, bend_zi, zi
):
    """Log likelihood up to the factorials, with slope and curvature by the log means."""
    wide()
    for i in range(n):
        bend[i] = mu[i] * factor
        slope[i] = -bend[i]
    value = -total_of(bend, n)
    for k in range(n_counts):
        j, count = genes[k], np.float64(counts[k])
        value += count * (np.float64(x[j]) + base)
        slope[j] += counts[k]
    return value


@part
def nb_terms(
    base, factor, genes, counts, n_counts, x, theta, n, mu, slope, bend, by_zi, both, bend_zi, zi
):
    """Log likelihood up to what is the same in all states; else as :func:`poisson_terms`."""
    wide()
    reciprocal, value = floats(theta, n), 0.0
    for start in range(0, n, BLOCK):
        of_block = ZERO
        means, of_theta, inverse = (
            floats(mu, start),
            floats(theta, start),
            floats(reciprocal, start),
        )
        slopes, bends = floats(slope, start), floats(bend, start)
        for i in range(min(BLOCK, n - start)):
            mean = means[i] * factor
            ratio = mean * inverse[i]
            of_block -= of_theta[i] * log1p(ratio, ONE + ratio)
            rest = ONE / (ONE + ratio)
            slopes[i] = -mean * rest
            bends[i] = mean * rest * rest
        value += np.float64(of_block)
    for k in range(n_counts):
        j, count = genes[k], np.float64(counts[k])
        log_mean, at_theta = np.float64(x[j]) + base, np.float64(theta[j])
        ratio = math.exp(log_mean) / at_theta
        value += count * (log_mean - math.log1p(ratio))
        slope[j] = np.float32((count - ratio * at_theta) / (1.0 + ratio))
        bend[j] = np.float32((count + at_theta) * ratio / ((1.0 + ratio) * (1.0 + ratio)))
    return value


@part
def zinb_terms(
    base, factor, genes, counts, n_counts, x, theta, n, mu, slope, bend, by_zi, both, bend_zi, zi
):
    """Log likelihood up to the same, with slopes and curvatures by the log odds, too."""
    wide()
    reciprocal, value = floats(theta, n), 0.0
    for start in range(0, n, BLOCK):
        of_block = ZERO
        means, of_theta, inverse = (
            floats(mu, start),
            floats(theta, start),
            floats(reciprocal, start),
        )
        slopes, bends, odds = floats(slope, start), floats(bend, start), floats(zi, start)
        slopes_zi, boths = floats(by_zi, start), floats(both, start)
        bends_zi = floats(bend_zi, start)
        for i in range(min(BLOCK, n - start)):
            mean = means[i] * factor
            ratio = mean * inverse[i]
            log_zero = -of_theta[i] * log1p(ratio, ONE + ratio)
            rest = ONE / (ONE + ratio)
            relative, opposite = exp(log_zero - odds[i]), exp(-odds[i])
            of_block += log1p(relative, ONE + relative) - log1p(opposite, ONE + opposite)
            # Of a zero: the probability that it is the negative binomial's; of any count: pi.
            counted = relative / (ONE + relative)
            pi = ONE / (ONE + opposite)
            doubt, by_log_mean = counted * (ONE - counted), -mean * rest
            slopes[i] = counted * by_log_mean
            slopes_zi[i] = ONE - pi - counted
            bends[i] = -counted * by_log_mean * rest - doubt * by_log_mean * by_log_mean
            boths[i] = doubt * by_log_mean
            bends_zi[i] = pi * (ONE - pi) - doubt
        value += np.float64(of_block)
    for k in range(n_counts):
        j, count = genes[k], np.float64(counts[k])
        if count == 0.0:
            continue
        log_mean, at_theta = np.float64(x[j]) + base, np.float64(theta[j])
        ratio = math.exp(log_mean) / at_theta
        log_u, odds = math.log1p(ratio), np.float64(zi[j])
        opposite = math.exp(-odds)
        log_zero = -at_theta * log_u
        as_zero = math.log1p(math.exp(log_zero - odds)) - math.log1p(opposite)
        log_rest = -odds - math.log1p(opposite)
        value += count * (log_mean - log_u) + log_zero + log_rest - as_zero
        pi = 1.0 / (1.0 + opposite)
        slope[j] = np.float32((count - ratio * at_theta) / (1.0 + ratio))
        bend[j] = np.float32((count + at_theta) * ratio / ((1.0 + ratio) * (1.0 + ratio)))
        by_zi[j], both[j], bend_zi[j] = np.float32(-pi), ZERO, np.float32(pi * (1.0 - pi))
    return value


@inlined
def each_cell(arguments, terms, limit, has_zi):
    """Expansions of the cells' log likelihoods; ``_expansions.py`` calls it."""
    wide()
    given = int64s(arguments, 0)
    n_parts, place = given[1], next_number(pointer(given[18]))
    n_cells, n, n_directions = given[2], given[3], given[4]
    n_theta, n_outputs = given[5], given[6]
    starts, constant = int32s(given[10], 0), doubles(given[13], 0)
    value = floats(given[14], 0)
    scratch = given[17] + 4 * place * (N_ROWS * n + 2 * BLOCK)
    mu, slope, bend = floats(scratch, 0), floats(scratch, n), floats(scratch, 2 * n)
    by_zi, both, bend_zi = floats(scratch, 3 * n), floats(scratch, 4 * n), floats(scratch, 5 * n)
    along, along_zi = floats(scratch, N_ROWS * n), floats(scratch, N_ROWS * n + BLOCK)
    number = next_number(arguments)
    while number < n_parts:
        start, stop = share(number, n_parts, n_cells)
        for cell in range(start, stop):
            first = np.int64(starts[cell])
            n_counts = starts[cell + 1] - first
            genes, counts = int32s(given[11], first), floats(given[12], first)
            rows = (1 + n_directions) * cell
            x, log_library = floats(given[7], rows * n_outputs), floats(given[8], rows)
            largest = row_max(x, n, mu)
            total = exponentials(x, n, largest, mu)
            base = np.float64(log_library[0])
            if not (math.isfinite(total) and abs(base) <= limit):
                value[cell] = np.nan
                continue
            base -= largest + math.log(total)
            factor = np.float32(math.exp(base + largest))
            theta = floats(given[9], (cell % n_theta if n_theta > 0 else 0) * 2 * n)
            v = terms(
                base, factor, genes, counts, n_counts, x, theta, n,
                mu, slope, bend, by_zi, both, bend_zi, floats(x, n),
            )  # fmt: skip
            value[cell] = np.float32(v + constant[cell])
            # What sums to one bends, too, along all directions of outputs.
            share_of, by_base = np.float32(1.0 / total), np.float32(total_of(slope, n))
            add_multiple(bend, mu, n, by_base * share_of)
            gradient = floats(given[15], cell * n_directions)
            curvature = floats(given[16], cell * n_directions * n_directions)
            for i in range(n_directions):
                row = floats(x, (1 + i) * n_outputs)
                mean = product_of(mu, row, n) * share_of
                add(row, n, log_library[1 + i] - mean)
                gradient[i] = product_of(slope, row, n)
                if has_zi:
                    gradient[i] += product_of(by_zi, floats(row, n), n)
                for j in range(i + 1):
                    of_library = log_library[1 + i] * log_library[1 + j]
                    curvature[i * n_directions + j] = -by_base * of_library
            for gene in range(0, n, BLOCK):
                size = min(BLOCK, n - gene)
                bends, boths = floats(bend, gene), floats(both, gene)
                bends_zi = floats(bend_zi, gene)
                for i in range(n_directions):
                    row = floats(x, (1 + i) * n_outputs + gene)
                    if has_zi:
                        times_both(bends, row, boths, floats(row, n), size, along)
                        times_both(boths, row, bends_zi, floats(row, n), size, along_zi)
                    else:
                        times(bends, row, size, along)
                    for j in range(i + 1):
                        other = floats(x, (1 + j) * n_outputs + gene)
                        product = product_of(along, other, size)
                        if has_zi:
                            product += product_of(along_zi, floats(other, n), size)
                        curvature[i * n_directions + j] += product
            for i in range(n_directions):
                for j in range(i):
                    curvature[j * n_directions + i] = curvature[i * n_directions + j]
        number = next_number(arguments)


@kernel
def poisson(arguments):
    each_cell(arguments, poisson_terms, LOG_POISSON_MAX, False)


@kernel
def nb(arguments):
    each_cell(arguments, nb_terms, LOG_MEAN_MAX, False)


@kernel
def zinb(arguments):
    each_cell(arguments, zinb_terms, LOG_MEAN_MAX, True)


#: The families that are compiled, by name.
KERNELS = {"poisson": poisson, "nb": nb, "zinb": zinb}


def n_scratch(n_genes):
    """How many numbers of scratch memory a thread needs."""
    return N_ROWS * n_genes + 2 * BLOCK
