"""Spaced numbers that are the same on every machine."""

from __future__ import annotations

import decimal


def geomspace(low: float, high: float, n: int) -> list[float]:
    """Return ``numpy.geomspace(low, high, n)`` of positive numbers, each correctly rounded.

    NumPy's powers differ in their last bits between processors.
    """
    with decimal.localcontext(decimal.Context(prec=60, Emin=-9999, Emax=9999)):
        value = decimal.Decimal(low)
        factor = (decimal.Decimal(high) / value) ** (decimal.Decimal(1) / max(n - 1, 1))
        values = []
        for _ in range(n):
            values.append(float(value))
            value *= factor
    return [*values[:-1], float(high)] if n > 1 else values
