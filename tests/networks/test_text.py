"""Texts of networks that are not networks, however long or deep."""

from __future__ import annotations

import pytest

from linnet_fast.networks.text import parse

MANY = 10**5
DEEP = {
    "sums": "1+" * MANY + "1",
    "signs": "-" * MANY + "1",
    "nots": "not " * MANY + "1",
    "brackets": "(" * MANY + "1" + ")" * MANY,
    "lists": "[" * MANY,
    "calls": "Chain(" * MANY,
    "layers": "Chain([" + "layers.Residual(" * 1000 + "layers.Dense(1, 1)" + ")" * 1000 + "])",
    "calls of calls": "Dense" + "()" * MANY,
    "names": "layers" + ".Dense" * MANY,
    "subscripts": "layers" + "[0]" * MANY,
    "powers": "2**" * MANY + "1",
    "functions": "lambda: " * MANY + "1",
    "choices": "1 if 1 else " * MANY + "1",
    "digits": "Diagonal(" + "9" * MANY + ")",
    "within a network": "Diagonal(width=" + "1+" * MANY + "1)",
    "a name": "a" * MANY,
    "a string": "'" + "a" * MANY + "'",
    "no text": "\0",
    "half a letter": "\ud800",
    "a set of lists": "Diagonal({[1]})",
    "a call of a number": "1()",
}


@pytest.mark.parametrize("name", DEEP)
def test_is_refused_by_name_and_shortly(name):
    with pytest.raises(ValueError, match=r"^architecture ") as caught:
        parse(DEEP[name])
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("value", [b"Diagonal(4)", None, 3, ["Diagonal(4)"]])
def test_only_texts(value):
    with pytest.raises(TypeError, match=r"^architecture must be a str"):
        parse(value)


def test_nesting_that_networks_have_is_understood():
    inner = "layers.Residual(" * 20 + "layers.Dense(1, 1)" + ", 1.0)" * 20
    assert parse(f"Chain([{inner}, layers.Dense(1, 1)])").n_inputs == 1
