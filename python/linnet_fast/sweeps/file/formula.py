"""Formulas of a file, such as ``2 / (n_layers * scale ** 2)``: arithmetic on swept parameters, no code."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from linnet_fast._base import wording
from linnet_fast._base.validate import FloatArray

_LONGEST = 400
_LARGEST = 1e300
_OPERATORS: Mapping[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {"exp": np.exp, "log": np.log, "sqrt": np.sqrt}


@dataclass(frozen=True)
class Formula:
    """A formula, read when it is made.

    Parameters
    ----------
    where : str
        What it stands for, for messages.
    text : str
        Numbers, names, ``+ - * / **``, brackets, ``exp``, ``log``, ``sqrt``.

    Raises
    ------
    ValueError
        If it is anything else.

    Examples
    --------
    >>> law = Formula("y", "log(1 / scale) / (2 * sigma)")
    >>> sorted(law.names)
    ['scale', 'sigma']
    >>> law({"scale": [1.0, 0.1], "sigma": 0.5}).round(3)
    array([0.   , 2.303])
    """

    where: str
    text: str
    names: frozenset[str] = field(init=False, compare=False)
    _tree: ast.expr = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Read it."""
        if len(self.text) > _LONGEST:
            msg = f"{self.where} must have at most {_LONGEST} letters, got {len(self.text):,}"
            raise ValueError(msg)
        try:
            tree = ast.parse(self.text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            self._refuse(self.text)
        object.__setattr__(self, "_tree", tree)
        object.__setattr__(self, "names", frozenset(self._checked(tree)))

    def _refuse(self, part: str) -> Any:
        allowed = f"numbers, names, + - * / **, brackets, {', '.join(_FUNCTIONS)}"
        msg = f"{self.where} must be a formula of {allowed}; got {wording.quoted(part)}"
        raise ValueError(msg) from None

    def _checked(self, node: ast.expr) -> list[str]:
        """Return the names in a part, and refuse what is no arithmetic."""
        match node:
            case ast.Constant(value=int() | float() as value) if (
                not isinstance(value, bool) and abs(value) <= _LARGEST
            ):
                return []
            case ast.Name(id=name):
                return [name]
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return self._checked(left) + self._checked(right)
            case ast.UnaryOp(op=op, operand=inner) if type(op) in _OPERATORS:
                return self._checked(inner)
            case ast.Call(func=ast.Name(id=name), args=[inner], keywords=[]) if name in _FUNCTIONS:
                return self._checked(inner)
        refused: list[str] = self._refuse(ast.unparse(node))
        return refused

    def __call__(self, values: Mapping[str, npt.ArrayLike]) -> FloatArray:
        """Return what it is at the values of its names, broadcast; not finite where it is nothing."""
        arrays = {name: np.asarray(values[name], np.float64) for name in self.names}
        with np.errstate(all="ignore"):
            return np.asarray(_value(self._tree, arrays), np.float64)


def _value(node: ast.expr, arrays: Mapping[str, FloatArray]) -> Any:
    """Return the value of a part that was checked."""
    match node:
        case ast.Constant(value=int() | float() as number):
            return np.float64(number)
        case ast.Name(id=name):
            return arrays[name]
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](_value(left, arrays), _value(right, arrays))
        case ast.UnaryOp(op=op, operand=inner):
            return _OPERATORS[type(op)](_value(inner, arrays))
        case ast.Call(func=ast.Name(id=name), args=[inner]):
            return _FUNCTIONS[name](_value(inner, arrays))
    raise AssertionError(node)
