"""The compiled search for the nearest of many points, called as the likelihoods are."""

# Nothing here is annotated: numba infers the types.
# mypy: ignore-errors

import numpy as np

from lucidvi.kernels._arithmetic import (
    ONE,
    ZERO,
    floats,
    int64s,
    next_number,
    pointer,
    share,
    wide,
)
from lucidvi.kernels._compile import kernel, part

#: Points whose distances are held at once, and those that are looked at together.
BLOCK, WIDTH = 512, 32


@part
def square_distances(columns, n_points, n_dimensions, start, size, z, out):
    """Squared distances of some points, of which each dimension is a row."""
    wide()
    for i in range(size):
        out[i] = ZERO
    for j in range(n_dimensions):
        x, at = floats(columns, j * n_points + start), z[j]
        for i in range(size):
            difference = x[i] - at
            out[i] += difference * difference


@part
def n_below(x, n, limit):
    wide()
    total = ZERO
    for i in range(n):
        total += ONE if x[i] < limit else ZERO
    return total


@kernel
def nearest(arguments):
    """Find the nearest points of each of a thread's share of states; ``_nearest.py`` calls it."""
    given = int64s(arguments, 0)
    n_parts, place = given[1], next_number(pointer(given[10]))
    n_states, n_points, n_dimensions, k = given[2], given[3], given[4], given[5]
    distances = floats(given[9], place * (BLOCK + k))
    kept = floats(distances, BLOCK)
    number = next_number(arguments)
    while number < n_parts:
        start, stop = share(number, n_parts, n_states)
        for state in range(start, stop):
            z, found = floats(given[7], state * n_dimensions), int64s(given[8], state * k)
            for i in range(k):
                kept[i] = np.float32(np.inf)
            for first in range(0, n_points, BLOCK):
                size = min(BLOCK, n_points - first)
                square_distances(given[6], n_points, n_dimensions, first, size, z, distances)
                for some in range(0, size, WIDTH):
                    width = min(WIDTH, size - some)
                    if n_below(floats(distances, some), width, kept[k - 1]) == ZERO:
                        continue
                    for i in range(some, some + width):
                        distance = distances[i]
                        if distance < kept[k - 1]:
                            slot = k - 1
                            while slot > 0 and kept[slot - 1] > distance:
                                kept[slot], found[slot] = kept[slot - 1], found[slot - 1]
                                slot -= 1
                            kept[slot], found[slot] = distance, first + i
        number = next_number(arguments)
