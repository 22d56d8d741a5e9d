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

from lucidvi.kernels._compile import OPTIONS, part

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
#: All bits but the sign's, and the place of that.
MANTISSA_AND_EXPONENT, SIGN = np.int32(0x7FFFFFFF), np.int32(31)


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


@part
def exp(x):
    """Exponential, to 2e-7 of its value; arguments outside [-86, 86] are taken as the ends."""
    x = EXP_MIN if x < EXP_MIN else x
    x = EXP_MAX if x > EXP_MAX else x
    k = np.float32(np.rint(x * LOG2_E))
    r = x - k * LN2_HIGH - k * LN2_LOW
    p = ((((E0 * r + E1) * r + E2) * r + E3) * r + E4) * r + E5
    return float_of(bits_of(p * r * r + r + ONE) + (np.int32(k) << SHIFT))


@part
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


@part
def row_max(x, n):
    """Maximum; that of integers in the order of the numbers, since theirs vectorizes."""
    largest = MANTISSA_AND_EXPONENT ^ np.int32(-1)
    for i in range(n):
        bits = bits_of(x[i])
        bits ^= (bits >> SIGN) & MANTISSA_AND_EXPONENT
        largest = bits if bits > largest else largest
    return float_of(largest ^ ((largest >> SIGN) & MANTISSA_AND_EXPONENT))


@part
def row_sum(x, n):
    """Sum in float64."""
    total = 0.0
    for i in range(n):
        total += np.float64(x[i])
    return total


# -- gamma functions at the counts ------------------------------------------------------------

#: Counts up to here are multiplied out: Gamma(x + theta) / Gamma(theta) is a short product.
SHORT_PRODUCT = 24.0
LOG_FACTORIAL = np.array([math.lgamma(k + 1.0) for k in range(256)])


@part
def digamma(x):
    """Return the derivative of log-gamma, in float64, for positive ``x``."""
    shifted = 0.0
    while x < 8.0:
        shifted -= 1.0 / x
        x += 1.0
    y = 1.0 / (x * x)
    series = y * (1 / 12 - y * (1 / 120 - y * (1 / 252 - y * (1 / 240 - y * (1 / 132)))))
    return shifted + math.log(x) - 0.5 / x - series


@part
def log_factorial(x):
    """Log of the factorial (gamma function of ``x + 1``)."""
    k = int(x) if x < 256.0 else 0
    return LOG_FACTORIAL[k] if k == x else math.lgamma(x + 1.0)


@part
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


def _at(kind):
    """Return what makes a pointer to numbers of a kind from an address, and the first's place."""

    @intrinsic
    def at(typing_context, address, first):
        def generate(context, builder, signature, arguments):
            start, places = arguments
            to = context.get_value_type(kind).as_pointer()
            cast = builder.bitcast if address == types.voidptr else builder.inttoptr
            return builder.gep(cast(start, to), [places])

        return types.CPointer(kind)(address, types.int64), generate

    return at


floats, doubles = _at(types.float32), _at(types.float64)
int32s, int64s = _at(types.int32), _at(types.int64)


@njit(inline="always", **OPTIONS)
def share(number, n_parts, n):
    """First and last (exclusive) of ``n`` things that this thread takes."""
    return number * n // n_parts, (number + 1) * n // n_parts
