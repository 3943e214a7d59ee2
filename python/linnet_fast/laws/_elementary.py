"""Elementary functions by additions, multiplications, divisions and square roots alone.

Those are correctly rounded everywhere. NumPy's functions have other last bits on other processors, and
what is trained on a law must not depend on where its table was made. Errors are an ulp or two, beside
what the rounding of arguments means.
"""

from __future__ import annotations

import math

import numpy as np

from linnet_fast._base.validate import FloatArray

_LN2 = 0.6931471805599453
_LN2_HIGH = float.fromhex("0x1.62e42feep-1")  # a short one, whose multiples are exact
_LN2_LOW = 1.9082149292705877e-10
_EXPM1 = [1 / math.factorial(k) for k in range(1, 14)]
_SIN = [(-1) ** k / math.factorial(2 * k + 1) for k in range(10)]
_COS = [(-1) ** k / math.factorial(2 * k) for k in range(10)]
_ATANH = [1 / (2 * k + 1) for k in range(18)]


def polynomial(coefficients: list[float], x: FloatArray) -> FloatArray:
    """Return the sum of coefficients[k] x^k."""
    value = np.full(x.shape, coefficients[-1])
    for c in coefficients[-2::-1]:
        value *= x
        value += c
    return value


def powers(x: FloatArray | float, n: int) -> FloatArray:
    """Return x, x^2, ... x^n along a new first axis."""
    return np.cumprod(np.broadcast_to(x, (n, *np.shape(x))), axis=0)


def exp_and_rest(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return e^-x and 1 - e^-x for x from 0 to 1000."""
    n = np.rint(x * (1 / _LN2))
    y = (n * _LN2_HIGH - x) + n * _LN2_LOW
    scale = np.ldexp(1.0, -n.astype(np.int32))
    change = scale * (y * polynomial(_EXPM1, y))
    return scale + change, (1 - scale) - change


def log1p(x: FloatArray) -> FloatArray:
    """Return ln(1 + x) for x from 0 to 1."""
    part = x / (2 + x)
    return 2 * part * polynomial(_ATANH, part * part)


def sin_cos(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return sine and cosine of x from 0 to pi / 2."""
    half = x / 2
    square = half * half
    s, c = half * polynomial(_SIN, square), polynomial(_COS, square)
    return 2 * s * c, (c - s) * (c + s)


def minus_log(cos: FloatArray, sin: FloatArray) -> FloatArray:
    """Return -ln(cos(x)) of cosines > 0 and sines in [0, 1]."""
    square = sin * sin
    near = square < 0.5
    part = np.where(near, square, 0.0)
    part = part / (2 - part)  # -ln(1 - y) = 2 atanh(y / (2 - y))
    # The cosine is fraction 2^exponent with a fraction about 1.
    fraction, exponent = np.frexp(cos)
    is_low = fraction < math.sqrt(0.5)
    fraction, exponent = np.where(is_low, 2 * fraction, fraction), exponent - is_low
    other = (1 - fraction) / (1 + fraction)
    far = 2 * other * polynomial(_ATANH, other * other) - exponent * _LN2
    return np.asarray(np.where(near, part * polynomial(_ATANH, part * part), far))
