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

from lucidvi.kernels._compile import OPTIONS, part, without_infinities

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
SQRT_HALF, MANTISSA, SHIFT = 0x3F3504F3, 0x007FFFFF, 23
#: Columns of a row of which a running maximum is kept.
WIDTH = 256


@intrinsic
def wide(typing_context):
    """Let a function use the widest vectors that there are, and estimate reciprocals.

    For processors with vectors of 512 bits LLVM takes those of 256, which is for code that has
    little to do with them. An estimate of a reciprocal is refined to 2e-7 of its value.
    """

    def generate(context, builder, signature, arguments):
        # llvmlite prints what it is given, but lets in only what it knows of.
        attributes = '"prefer-vector-width"="512"', '"reciprocal-estimates"="vec-divf:1"'
        set.update(builder.function.attributes, attributes)
        return context.get_dummy_value()

    return types.void(), generate


# Integers of 32 bits, as many at a time as float32 numbers: numba would make them int64.
INT, FLOAT = ir.IntType(32), ir.FloatType()


def _centred(builder, x):
    """Bits of a number above those of the square root of one half."""
    return builder.sub(builder.bitcast(x, INT), INT(SQRT_HALF))


@intrinsic
def exponent_of(typing_context, x):
    """Return ``k`` of ``x = 2^k f``, with ``f`` between the roots of one half and of two."""

    def generate(context, builder, signature, arguments):
        return builder.sitofp(builder.ashr(_centred(builder, *arguments), INT(SHIFT)), FLOAT)

    return types.float32(types.float32), generate


@intrinsic
def fraction_of(typing_context, x):
    """Return ``f`` of it."""

    def generate(context, builder, signature, arguments):
        bits = builder.and_(_centred(builder, *arguments), INT(MANTISSA))
        return builder.bitcast(builder.add(bits, INT(SQRT_HALF)), FLOAT)

    return types.float32(types.float32), generate


@intrinsic
def times_power_of_two(typing_context, x, k):
    """``2^k x``, for a whole number ``k`` with which it is no subnormal number."""

    def generate(context, builder, signature, arguments):
        bits, k = builder.bitcast(arguments[0], INT), builder.fptosi(arguments[1], INT)
        return builder.bitcast(builder.add(bits, builder.shl(k, INT(SHIFT))), FLOAT)

    return types.float32(types.float32, types.float32), generate


@without_infinities
def quotient(x, y):
    """``x / y``, which vectors refine from an estimate, to 2e-7 of its value."""
    return x / y


@part
def exp_within(x):
    """Exponential, to 2e-7 of its value, of arguments in [-86, 86]."""
    k = np.float32(np.rint(x * LOG2_E))
    r = x - k * LN2_HIGH - k * LN2_LOW
    p = ((((E0 * r + E1) * r + E2) * r + E3) * r + E4) * r + E5
    return times_power_of_two(p * r * r + r + ONE, k)


@part
def exp(x):
    """Exponential, to 2e-7 of its value; arguments outside [-60, 86] are taken as the ends."""
    x = EXP_MIN if x < EXP_MIN else x
    return exp_within(EXP_MAX if x > EXP_MAX else x)


@part
def log1p(x, u):
    """Log of ``u = 1 + x``, to 3e-7 of its value where ``x`` is not below -0.3."""
    k = exponent_of(u)
    # Below the square root of two the argument is `x` itself, whose last digits `u` has lost.
    f = x if k == ZERO else fraction_of(u) - ONE
    z = f * f
    p = (((L0 * f + L1) * f + L2) * f + L3) * f + L4
    p = ((((p * f + L5) * f + L6) * f + L7) * f + L8) * f * z
    return p - HALF * z + f + k * LN2_LOW + k * LN2_HIGH


@part
def row_max(x, n, spare):
    """Maximum, of many columns at once, since a running one does not vectorize."""
    wide()
    width = WIDTH if n > WIDTH else n
    for i in range(width):
        spare[i] = x[i]
    for start in range(width, n, width):
        rest = floats(x, start)
        for i in range(min(width, n - start)):
            spare[i] = rest[i] if rest[i] > spare[i] else spare[i]
    while width > 1:
        half = (width + 1) >> 1
        for i in range(width - half):
            spare[i] = spare[i] if spare[i] > spare[half + i] else spare[half + i]
        width = half
    return spare[0]


@part
def row_sum(x, n):
    """Sum in float64."""
    wide()
    total = 0.0
    for i in range(n):
        total += np.float64(x[i])
    return total


# -- gamma functions at the counts ------------------------------------------------------------

#: Counts up to here are multiplied out: Gamma(x + theta) / Gamma(theta) is a short product.
SHORT_PRODUCT = 24.0
LOG_FACTORIAL = np.array([math.lgamma(k + 1.0) for k in range(256)])
HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


@part
def digamma_rest(x):
    """Log minus the derivative of log-gamma: a series, for ``x`` from 8 on."""
    y = 1.0 / (x * x)
    return 0.5 / x + y * (1 / 12 - y * (1 / 120 - y * (1 / 252 - y * (1 / 240 - y * (1 / 132)))))


@part
def digamma(x):
    """Return the derivative of log-gamma, in float64, for positive ``x``."""
    shifted = 0.0
    while x < 8.0:
        shifted -= 1.0 / x
        x += 1.0
    return shifted + math.log(x) - digamma_rest(x)


@part
def stirling(x):
    """Log-gamma without its logarithm, ``-x`` and constant: a series, for ``x`` from 8 on."""
    y = 1.0 / x
    z = y * y
    return y * (1 / 12 - z * (1 / 360 - z * (1 / 1260 - z * (1 / 1680 - z / 1188))))


@part
def log_factorial(x):
    """Log of the factorial (gamma function of ``x + 1``)."""
    if x < 256.0:
        k = int(x)
        return LOG_FACTORIAL[k] if k == x else math.lgamma(x + 1.0)
    return (x + 0.5) * math.log(x) - x + HALF_LOG_TWO_PI + stirling(x)


@part
def rising(x, theta):
    """Log of Gamma(x + theta) / Gamma(theta), and its derivative by theta."""
    is_short = x <= SHORT_PRODUCT
    if is_short and x != int(x):
        return (
            math.lgamma(x + theta) - math.lgamma(theta),
            digamma(x + theta) - digamma(theta),
        )
    product, derivative, last = 1.0, 0.0, x + theta
    for _ in range(int(x) if is_short else 8):
        derivative = derivative * theta + product
        product *= theta
        theta += 1.0
    log_product, derivative = math.log(product), derivative / product
    if is_short:
        return log_product, derivative
    # The rest is Gamma(last) / Gamma(theta) of two numbers that Stirling's series is for.
    log_last, log_theta = math.log(last), math.log(theta)
    rest = (last - 0.5) * log_last - (theta - 0.5) * log_theta - (last - theta)
    return (
        log_product + rest + stirling(last) - stirling(theta),
        derivative + (log_last - log_theta) - digamma_rest(last) + digamma_rest(theta),
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
            cast = builder.inttoptr if isinstance(address, types.Integer) else builder.bitcast
            return builder.gep(cast(start, to), [places])

        return types.CPointer(kind)(address, types.int64), generate

    return at


floats, doubles = _at(types.float32), _at(types.float64)
int32s, int64s = _at(types.int32), _at(types.int64)


@njit(inline="always", **OPTIONS)
def share(number, n_parts, n):
    """First and last (exclusive) of ``n`` things that this thread takes."""
    return number * n // n_parts, (number + 1) * n // n_parts
