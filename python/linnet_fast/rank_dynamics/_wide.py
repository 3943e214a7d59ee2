"""Real numbers of any size: float64 with an exponent of its own, so that nothing overflows.

Closed forms multiply powers of their arguments, whose range is that of all doubles; what comes out is
a double again. Logarithms would do, but lose digits in proportion to the exponent.
"""

from __future__ import annotations

from typing import Any, TypeAlias, Union

import numpy as np
import numpy.typing as npt

from linnet_fast._base.validate import FloatArray

_LN2 = float(np.log(2.0))
# ln 2 in two parts: the first has 20 bits, so that products with whole numbers are exact.
_LN2_HEAD = 0.6931467056274414
_LN2_TAIL = 4.7493250390316726e-07
_SPLIT = 2.0**27 + 1

Operand: TypeAlias = Union["Wide", npt.NDArray[np.floating[Any]], float]


class Wide:
    """An array of numbers ``mantissa * 2**exponent``, with the arithmetic of arrays.

    Mantissas are from 1/2 to 1 in size, exponents whole floats; 0 has the exponent -inf.
    """

    __slots__ = ("exponent", "mantissa")
    __array_ufunc__ = None  # arrays leave operators to this class

    def __init__(self, mantissa: npt.ArrayLike, exponent: npt.ArrayLike = 0.0) -> None:
        m, shift = np.frexp(np.asarray(mantissa, dtype=np.float64))
        self.mantissa: FloatArray = np.asarray(m)
        self.exponent: FloatArray = np.where(m == 0, -np.inf, exponent + shift)

    @staticmethod
    def exp(x: FloatArray) -> Wide:
        """Return e^x."""
        k = np.rint(x / _LN2)
        rest = (x - k * _LN2_HEAD) - k * _LN2_TAIL
        # Of enormous x not even the whole part is known.
        return Wide.where(np.isneginf(x), Wide(0.0), Wide(np.exp(np.clip(rest, -1, 1)), k))

    @staticmethod
    def where(condition: npt.NDArray[np.bool_], one: Wide, other: Wide) -> Wide:
        """Return elements of `one` where the condition holds, else of `other`."""
        return Wide(
            np.where(condition, one.mantissa, other.mantissa),
            np.where(condition, one.exponent, other.exponent),
        )

    def __add__(self, other: Operand) -> Wide:
        other = _wide(other)
        top = np.maximum(self.exponent, other.exponent)
        return Wide(_shifted(self, top) + _shifted(other, top), top)

    def __neg__(self) -> Wide:
        return Wide(-self.mantissa, self.exponent)

    def __sub__(self, other: Operand) -> Wide:
        return self + -_wide(other)

    def __mul__(self, other: Operand) -> Wide:
        other = _wide(other)
        return Wide(self.mantissa * other.mantissa, self.exponent + other.exponent)

    def __truediv__(self, other: Operand) -> Wide:
        other = _wide(other)
        exponent = np.where(other.mantissa == 0, 0.0, self.exponent - other.exponent)
        return Wide(self.mantissa / other.mantissa, exponent)

    __radd__ = __add__
    __rmul__ = __mul__

    def power(self, numerator: int, denominator: int = 1) -> Wide:
        """Return the power of numbers >= 0 to a rational exponent, which is not 0."""
        zero = self.mantissa == 0
        e = np.where(zero, 0.0, self.exponent)
        whole, rest = np.floor(e / denominator), np.mod(e, denominator)
        more, part = np.divmod(rest * numerator, denominator)
        mantissa = np.power(np.where(zero, 1.0, self.mantissa), numerator / denominator)
        result = Wide(mantissa * np.exp2(part / denominator), whole * numerator + more)
        return Wide.where(zero, Wide(0.0 if numerator > 0 else np.inf), result)

    def log(self) -> FloatArray:
        """Return the natural logarithm, accurate near 1 too."""
        low = self.mantissa < np.sqrt(0.5)
        mantissa = np.where(low, 2 * self.mantissa, self.mantissa)
        exponent = np.where(low, self.exponent - 1, self.exponent)
        return np.asarray(np.log(mantissa) + exponent * _LN2)

    def log1p(self) -> Wide:
        """Return ln(1 + x)."""
        x = self.double()
        return Wide.where(
            self.exponent < -60, self, Wide(np.where(self.exponent > 60, self.log(), np.log1p(x)))
        )

    def double(self) -> FloatArray:
        """Return the nearest doubles: 0 or infinity where they end."""
        shift = np.clip(np.nan_to_num(self.exponent), -2200, 2200).astype(np.int32)
        return np.asarray(np.ldexp(self.mantissa, shift))


def hypot(x: Wide, y: Wide) -> Wide:
    """Return the square root of the sum of squares."""
    top = np.maximum(x.exponent, y.exponent)
    return Wide(np.hypot(_shifted(x, top), _shifted(y, top)), top)


def less_product(x: Wide, y: Wide, z: Wide) -> Wide:
    """Return x - y z to full relative accuracy."""
    product = y.mantissa * z.mantissa
    # Veltkamp and Dekker: the rounding error of the product, exactly.
    y_high, z_high = (_SPLIT * n - (_SPLIT * n - n) for n in (y.mantissa, z.mantissa))
    y_low, z_low = y.mantissa - y_high, z.mantissa - z_high
    error = ((y_high * z_high - product) + y_high * z_low + y_low * z_high) + y_low * z_low
    exponent = y.exponent + z.exponent
    return (x - Wide(product, exponent)) - Wide(error, exponent)


def _wide(x: Operand) -> Wide:
    return x if isinstance(x, Wide) else Wide(x)


def _shifted(x: Wide, top: FloatArray) -> FloatArray:
    """Return x / 2^top, where top is at least the exponent."""
    shift = np.where(x.exponent == top, 0.0, x.exponent - top)
    return np.asarray(np.ldexp(x.mantissa, np.maximum(shift, -1100.0).astype(np.int32)))
