"""Formulas of files: what they compute, and that nothing else is let in."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from linnet_fast.sweeps.file.formula import Formula


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2", 2.0),
        ("-a + 3 * b ** 2 / (1 - a)", -0.5 + 27 / 0.5),
        ("exp(log(b)) - sqrt(b) * +1e-3", 3 - math.sqrt(3) * 1e-3),
        ("2 ** -1 ** 2", 2.0**-1),
        ("9 ** 9 ** 9 ** 9", math.inf),
        ("1 / (a - 0.5)", math.inf),
    ],
)
def test_values(text, value):
    assert float(Formula("y", text)({"a": 0.5, "b": 3})) == pytest.approx(value, rel=1e-15)


def test_values_are_broadcast():
    law = Formula("y", "a - n")
    assert law.names == {"a", "n"}
    assert_array_equal(law({"a": np.arange(3), "n": np.array([[1], [2]])})[1], [-2, -1, 0])
    assert np.isnan(Formula("y", "log(a)")({"a": -1}))


@pytest.mark.parametrize(
    "text",
    ["", "a.b", "a[0]", "True", "1j", "'a'", "a < b", "2 if a else 3", "lambda: 1", "a := 2", "[a]", "a // b",
     "log(a, b)", "abs(a)", "__import__('os')", "log()", "(", "a b", "1e999", "a\n+ b", "1" * 350],
)  # fmt: skip
def test_what_is_no_arithmetic_is_refused(text):
    with pytest.raises(ValueError, match="y must be a formula of numbers, names"):
        Formula("y", text)


def test_length():
    assert float(Formula("y", "(" * 190 + "a" + ")" * 190)({"a": 2})) == 2
    assert float(Formula("y", "+".join(["1"] * 200))({})) == 200
    with pytest.raises(ValueError, match="y must have at most 400 letters, got 401"):
        Formula("y", "1+" * 200 + "1")
