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

#: Points that are looked at together, and boxes that are looked into first.
WIDTH, CLOSEST = 32, 4
#: Share of a bound that rounding cannot have added to it.
CERTAIN = np.float32(1 - 1e-5)


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
def square_bounds(low, high, n_boxes, n_dimensions, z, out):
    """Least squared distances of what is in boxes, of which each dimension is a row."""
    wide()
    for i in range(n_boxes):
        out[i] = ZERO
    for j in range(n_dimensions):
        below, above, at = floats(low, j * n_boxes), floats(high, j * n_boxes), z[j]
        for i in range(n_boxes):
            under, over = below[i] - at, at - above[i]
            outside = under if under > over else over
            outside = outside if outside > ZERO else ZERO
            out[i] += outside * outside


@part
def n_within(x, n, limit):
    wide()
    total = ZERO
    for i in range(n):
        total += ONE if x[i] <= limit else ZERO
    return total


@part
def place_of_least(x, n):
    """Where the least number is, of which some may be none."""
    least = 0
    for i in range(1, n):
        if x[i] < x[least] or x[least] != x[least]:
            least = i
    return least


@kernel
def nearest(arguments):
    """Find the nearest points of each of a thread's share of states; ``_nearest.py`` calls it."""
    given = int64s(arguments, 0)
    n_parts, place = given[1], next_number(pointer(given[15]))
    n_states, n_points, n_dimensions, k = given[2], given[3], given[4], given[5]
    n_boxes, per_box, order = given[6], given[7], int64s(given[11], 0)
    bounds = floats(given[14], place * (n_boxes + per_box + k))
    distances, kept = floats(bounds, n_boxes), floats(bounds, n_boxes + per_box)
    number = next_number(arguments)
    while number < n_parts:
        start, stop = share(number, n_parts, n_states)
        for state in range(start, stop):
            z, found = floats(given[12], state * n_dimensions), int64s(given[13], state * k)
            for i in range(k):
                kept[i] = np.float32(np.inf)
                found[i] = n_points
            square_bounds(given[9], given[10], n_boxes, n_dimensions, z, bounds)
            # After the closest boxes most others are too far, which are taken as they lie.
            for number_of_box in range(-min(CLOSEST, n_boxes), n_boxes):
                box = number_of_box if number_of_box >= 0 else place_of_least(bounds, n_boxes)
                if not bounds[box] * CERTAIN <= kept[k - 1]:
                    continue
                bounds[box] = np.float32(np.nan) if number_of_box < 0 else bounds[box]
                first = box * per_box
                size = min(per_box, n_points - first)
                square_distances(given[8], n_points, n_dimensions, first, size, z, distances)
                for some in range(0, size, WIDTH):
                    width = min(WIDTH, size - some)
                    if n_within(floats(distances, some), width, kept[k - 1]) == ZERO:
                        continue
                    for i in range(some, some + width):
                        distance, point = distances[i], order[first + i]
                        slot = k - 1
                        # Of equal distances the first point's counts as less.
                        if distance < kept[slot] or (
                            distance == kept[slot] and point < found[slot]
                        ):
                            while slot > 0 and (
                                kept[slot - 1] > distance
                                or (kept[slot - 1] == distance and found[slot - 1] > point)
                            ):
                                kept[slot], found[slot] = kept[slot - 1], found[slot - 1]
                                slot -= 1
                            kept[slot], found[slot] = distance, point
        number = next_number(arguments)
