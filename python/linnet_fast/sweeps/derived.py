"""What a sweep keeps of its runs besides records: how they end, and functions of trajectories."""

from __future__ import annotations

import hashlib
import inspect
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePath
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from linnet_fast._base import functions, validate
from linnet_fast.rank_dynamics import joint_decomposition
from linnet_fast.rank_dynamics import learning_times as times_of
from linnet_fast.records.measures import measure_named
from linnet_fast.records.observables import OBSERVABLES, dims_of, evaluated_rows, known
from linnet_fast.sweeps.over_records import parse
from linnet_fast.training import plain
from linnet_fast.training.trajectory import Trajectory

Function: TypeAlias = Callable[[Trajectory], npt.ArrayLike]


@dataclass(frozen=True)
class Derived:
    """A named function of the trajectory of a batch of runs.

    Parameters
    ----------
    name : str
        Of the variable of the result.
    function : callable
        From a `Trajectory` with one run axis (n,) to an array (n, ...).
    identity : str
        What tells it from other functions; part of the identity of runs.
    dims : tuple of str
        Names of the axes after the run axis; by default made of the name.
    needs : tuple of str
        Observables that the trajectory must have.
    of_end : bool
        Whether it is given a trajectory of one record: the end of each run, wherever that is.
    """

    name: str
    function: Function
    identity: str
    dims: tuple[str, ...] | None = None
    needs: tuple[str, ...] = ()
    of_end: bool = False


def _last(observable: str, end: Trajectory) -> Any:
    return np.asarray(end.observables[observable])[:, 0]


def _final(name: str) -> Derived:
    # Not a closure: what goes to other processes has to be pickled.
    return Derived(f"final_{name}", partial(_last, name), f"final_{name}", None, (name,), True)


def learned_rank(end: Trajectory) -> npt.NDArray[np.int64]:
    """Return how many ranks of the data each run has learned by its end.

    The i-th is learned where the i-th singular value is above half of the least of the first i
    strengths at which the modes of the data rest, see `learning_times`. -1 of runs that diverged.
    """
    targets = joint_decomposition(end.squared_loss).targets
    rest = np.minimum.accumulate(np.where(targets > 0, targets, np.inf), axis=-1)
    values = end.singular_values[:, 0]
    with np.errstate(invalid="ignore"):
        count = np.count_nonzero((values > 0.5 * rest) & (targets > 0), axis=-1)
    return np.where(np.isfinite(values).all(axis=-1), count, -1)


def learning_times(trajectory: Trajectory) -> npt.NDArray[np.float64]:
    """Return the time t at which each mode is learned, see `rank_dynamics.learning_times`."""
    return times_of(trajectory)


def learning_steps(trajectory: Trajectory) -> npt.NDArray[np.float64]:
    """Return the step at which each mode is learned, by `learning_times`."""
    if trajectory.steps is None:
        msg = "learning_steps is for gradient descent, got a flow; take learning_times"
        raise TypeError(msg)
    return trajectory.step_at(times_of(trajectory))


BUILT_IN: Mapping[str, Derived] = MappingProxyType(
    {f"final_{name}": _final(name) for name in OBSERVABLES if name != "weights"}
    | {
        "learned_rank": Derived(
            "learned_rank", learned_rank, "learned_rank", (), ("singular_values",), True
        ),
        "learning_times": Derived(
            "learning_times", learning_times, "learning_times", ("mode",), ("singular_values",)
        ),
        "learning_steps": Derived(
            "learning_steps", learning_steps, "learning_steps", ("mode",), ("singular_values",)
        ),
    }
)
"""Name -> what comes with the library."""


def resolve(derived: object) -> tuple[Derived, ...]:
    """Return what was asked for: names, or a mapping from names to functions.

    Parameters
    ----------
    derived : str, iterable of str, or mapping
        Names of `BUILT_IN`; or name -> a function, the name of a built-in one, ``"module:function"``,
        or a pair of one of these and the names of the axes of its result.
    """
    if isinstance(derived, str):
        derived = (derived,)
    if isinstance(derived, Mapping):
        items: list[tuple[object, object]] = list(derived.items())
    else:
        if not isinstance(derived, Iterable):
            got = type(derived).__name__
            msg = f"derived must be names or a mapping of functions, got {got}"
            raise TypeError(msg)
        listed = validate.parts("derived", derived, of="names, or a mapping of functions")
        items = [(_name_of(name), name) for name in listed]
    result: list[Derived] = []
    for name, value in items:
        if not isinstance(name, str) or not name.isidentifier():
            msg = f"derived must have names such as 'gap', got {validate.brief(name)}"
            raise ValueError(msg)
        if (
            known(name) is not None
            or name in ("status", "stopped_at")
            or name in (d.name for d in result)
        ):
            msg = f"derived must have names of their own, got {name!r}"
            raise ValueError(msg)
        result.append(_one(name, value))
    return tuple(result)


def is_built_in(text: str) -> bool:
    """Return whether what a spec says of a function means one that comes with the library."""
    return not any(sign in text for sign in ":#(") or parse("derived", text) is not None


def _name_of(text: object) -> object:
    """Return what a result is called that is given as text alone."""
    if not isinstance(text, str):
        return text
    over = parse("derived", text)
    row = known(text.removeprefix("final_")) if text.startswith("final_") else None
    return over.name if over is not None else text if row is None else f"final_{row.name}"


def _named(value: str, argument: str) -> Derived:
    """Return what comes with the library under a name, or is written as text."""
    over = parse(argument, value)
    if over is not None:
        dims = dims_of(over.observable)
        return Derived(over.name, over.function, over.text, dims, (over.observable,))
    row = known(value.removeprefix("final_")) if value.startswith("final_") else None
    if row is not None and row.name != "weights":
        return _final(row.name)
    return _of_evaluated(value) or BUILT_IN[validate.choice(argument, value, BUILT_IN)]


def _one(name: str, value: Any) -> Derived:
    dims = None
    if isinstance(value, tuple):
        if len(value) != 2 or not isinstance(value[1], tuple | list):
            msg = (
                f"derived[{name!r}] must be (function, names of axes), got {validate.brief(value)}"
            )
            raise TypeError(msg)
        value, dims = value[0], validate.texts(f"derived[{name!r}]", value[1])
    if isinstance(value, Derived):
        return replace(value, name=name, dims=value.dims if dims is None else dims)
    if isinstance(value, str) and ":" not in value:
        found = _named(value, f"derived[{name!r}]")
        return replace(found, name=name, dims=found.dims if dims is None else dims)
    if isinstance(value, str):
        return Derived(name, _imported(name, value), value, dims)
    if not callable(value):
        msg = f"derived[{name!r}] must be a function or a name, got {type(value).__name__}"
        raise TypeError(msg)
    return Derived(name, value, _identity(name, value), dims)


def _of_evaluated(value: str) -> Derived | None:
    """Return how an evaluated loss ends; None: it is none of the like of ``final_loss_test``."""
    for row in evaluated_rows([""]).values():
        begin = f"final_{row.name}"
        if value.startswith(begin) and value != begin and value not in BUILT_IN:
            return _final(value.removeprefix("final_"))
    for end in (i for i, sign in enumerate(value) if sign == "_"):  # final_sharpness_test
        measure = measure_named(value[:end].removeprefix("final_"))
        if measure is not None and measure.is_of_loss and value.startswith("final_"):
            return _final(measure.of_evaluated(value[end + 1 :]).name)
    return None


def _imported(name: str, path: str) -> Function:
    """Return the function that the user named as "module:function"."""
    found = functions.imported(f"derived[{name!r}]", path)
    if not callable(found):
        msg = f"derived[{name!r}] must name a function, got {path!r}: {type(found).__name__}"
        raise TypeError(msg)
    function: Function = found
    return function


def _identity(name: str, function: Any) -> str:
    """Return name and fingerprint of a function: of its source, its defaults and what it closes over."""
    called = f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', '')}"
    if isinstance(function, partial):
        inner = _identity(name, function.func)
        parts = [_fingerprint(name, part) for part in function.args]
        parts += [f"{key}={_fingerprint(name, v)}" for key, v in sorted(function.keywords.items())]
        return f"partial({', '.join([inner, *parts])})"
    if isinstance(function, types.BuiltinFunctionType):
        return called
    if not isinstance(function, types.FunctionType):
        kind = type(function)
        called = f"{kind.__module__}:{kind.__qualname__}"
        parts = [f"{key}={_fingerprint(name, v)}" for key, v in sorted(vars(function).items())]
        return f"{called}#{_hashed(_source(kind.__call__), *parts)}"
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    held = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values(), *cells]
    parts = [_fingerprint(name, value) for value in held]
    return f"{called}#{_hashed(_source(function), *parts)}"


def _source(function: Any) -> str:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        code = getattr(function, "__code__", None)
        return repr(None if code is None else (code.co_code, code.co_consts, code.co_names))


def _hashed(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _fingerprint(name: str, value: object) -> str:
    """Return what tells a value that a function holds from others."""
    if isinstance(value, types.ModuleType | type):
        return f"{getattr(value, '__module__', '')}:{value.__name__}"
    if callable(value):
        return _identity(name, value)
    if isinstance(value, PurePath):
        return str(value)
    try:
        return plain.text(plain.encode(value))
    except TypeError as error:
        msg = (
            f"derived[{name!r}] must hold numbers, texts, arrays and functions only, got {value!r}"
        )
        raise TypeError(msg) from error
