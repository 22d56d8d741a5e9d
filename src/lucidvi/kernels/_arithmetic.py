"""What the compiled kernels are made of: float32 arithmetic that vectorizes, gamma functions,
pointers, and each thread's share.

Zeros need one exponential and one logarithm, of which short polynomials in float32 are written so
that a compiler can do sixteen at a time.

numba keeps what it compiled on disk, and compiles again when the file of the kernel itself has
changed. After a change in this file: ``make clean``.
"""

# Nothing here is annotated: numba infers the types.
# mypy: ignore-errors

import math

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

# Sums may be reordered and products fused; NaN and infinities keep their meaning.
OPTIONS = {
    "fastmath": {"reassoc", "contract", "arcp", "nsz"},
    "error_model": "numpy",
    "boundscheck": False,
}

# -- float32 arithmetic that vectorizes -------------------------------------------------------

F = np.float32
ZERO, HALF, ONE = F(0.0), F(0.5), F(1.0)
# Coefficients: S. Moshier, Cephes Mathematical Library (expf, logf).
LOG2_E, LN2_HIGH, LN2_LOW = F(1.44269504088896341), F(0.693359375), F(-2.12194440e-4)
E0, E1, E2 = F(1.9875691500e-4), F(1.3981999507e-3), F(8.3334519073e-3)
E3, E4, E5 = F(4.1665795894e-2), F(1.6666665459e-1), F(5.0000001201e-1)
L0, L1, L2 = F(7.0376836292e-2), F(-1.1514610310e-1), F(1.1676998740e-1)
L3, L4, L5 = F(-1.2420140846e-1), F(1.4249322787e-1), F(-1.6668057665e-1)
L6, L7, L8 = F(2.0000714765e-1), F(-2.4999993993e-1), F(3.3333331174e-1)
#: Smallest argument of ``exp``, and the largest.
EXP_MIN, EXP_MAX = F(-60.0), F(86.0)
#: Bits of the square root of one half, mantissa bits and their number.
SQRT_HALF, MANTISSA, SHIFT = np.int32(0x3F3504F3), np.int32(0x007FFFFF), np.int32(23)


@intrinsic
def bits_of(typing_context, x):
    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(types.float32), generate


@intrinsic
def float_of(typing_context, bits):
    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


@njit(inline="always", **OPTIONS)
def exp(x):
    """Exponential, to 2e-7 of its value; arguments outside [-86, 86] are taken as the ends."""
    x = min(max(x, EXP_MIN), EXP_MAX)
    k = np.float32(np.rint(x * LOG2_E))
    r = x - k * LN2_HIGH - k * LN2_LOW
    p = ((((E0 * r + E1) * r + E2) * r + E3) * r + E4) * r + E5
    return float_of(bits_of(p * r * r + r + ONE) + (np.int32(k) << SHIFT))


@njit(inline="always", **OPTIONS)
def log1p(x, u):
    """Log of ``u = 1 + x`` for non-negative ``x``, to 3e-7 of its value."""
    bits = bits_of(u) - SQRT_HALF
    k = bits >> SHIFT
    # Below the square root of two the argument is `x` itself, whose last digits `u` has lost.
    f = x if k == 0 else float_of((bits & MANTISSA) + SQRT_HALF) - ONE
    z, k = f * f, np.float32(k)
    p = (((L0 * f + L1) * f + L2) * f + L3) * f + L4
    p = ((((p * f + L5) * f + L6) * f + L7) * f + L8) * f * z
    return p - HALF * z + f + k * LN2_LOW + k * LN2_HIGH


@njit(**OPTIONS)
def row_max(x, spare):
    """Maximum, by halves, since a running one does not vectorize; overwrites ``spare``."""
    n = x.shape[0] // 2
    for i in range(n):
        spare[i] = max(x[i], x[n + i])
    largest = x[x.shape[0] - 1]
    while n > 8:
        if n % 2:
            largest = max(largest, spare[n - 1])
        n //= 2
        for i in range(n):
            spare[i] = max(spare[i], spare[n + i])
    for i in range(n):
        largest = max(largest, spare[i])
    return largest


@njit(**OPTIONS)
def row_sum(x):
    """Sum in float64."""
    total = 0.0
    for i in range(x.shape[0]):
        total += np.float64(x[i])
    return total


# -- gamma functions at the counts ------------------------------------------------------------

#: Counts up to here are multiplied out: Gamma(x + theta) / Gamma(theta) is a short product.
SHORT_PRODUCT = 24.0
LOG_FACTORIAL = np.array([math.lgamma(k + 1.0) for k in range(256)])


@njit(**OPTIONS)
def digamma(x):
    """Return the derivative of log-gamma, in float64, for positive ``x``."""
    shifted = 0.0
    while x < 8.0:
        shifted -= 1.0 / x
        x += 1.0
    y = 1.0 / (x * x)
    series = y * (1 / 12 - y * (1 / 120 - y * (1 / 252 - y * (1 / 240 - y * (1 / 132)))))
    return shifted + math.log(x) - 0.5 / x - series


@njit(**OPTIONS)
def log_factorial(x):
    """Log of the factorial (gamma function of ``x + 1``)."""
    k = int(x) if x < 256.0 else 0
    return LOG_FACTORIAL[k] if k == x else math.lgamma(x + 1.0)


@njit(**OPTIONS)
def rising(x, theta):
    """Log of Gamma(x + theta) / Gamma(theta), and its derivative by theta."""
    if x <= SHORT_PRODUCT and x == int(x):
        product, derivative = 1.0, 0.0
        for _ in range(int(x)):
            derivative = derivative * theta + product
            product *= theta
            theta += 1.0
        return math.log(product), derivative / product
    return (
        math.lgamma(x + theta) - math.lgamma(theta),
        digamma(x + theta) - digamma(theta),
    )


# -- arguments and threads --------------------------------------------------------------------


@intrinsic
def pointer(typing_context, address):
    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), generate


@intrinsic
def next_number(typing_context, counter):
    def generate(context, builder, signature, arguments):
        address = builder.bitcast(arguments[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", address, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(types.voidptr), generate


@njit(**OPTIONS)
def share(part, n_parts, n):
    """First and last (exclusive) of ``n`` things that this thread takes."""
    return part * n // n_parts, (part + 1) * n // n_parts
