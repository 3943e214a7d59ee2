"""How ``linnet-fast train`` trains: methods by their names, and what they are made with."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from typing import Any

from linnet_fast._base import wording
from linnet_fast._base.value import arguments
from linnet_fast.cli.outputs import BadInput
from linnet_fast.methods.registry import METHODS
from linnet_fast.methods.step_rule import StepRule
from linnet_fast.methods.stepping import SteppingMethod
from linnet_fast.training import plain

_OF_THE_GRID = ("step_size", "weight_decay")


def names() -> Mapping[str, type[Any]]:
    """Return the methods that take steps, by their names on the command line."""
    return {
        re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower(): kind
        for name, kind in METHODS.items()
        if kind.of_core is True and kind.counts_steps  # what stands around another one asks that
    }


def option(text: str) -> tuple[str, Any]:
    """Return name and value of ``NAME=VALUE``: a number, numbers A,B, true, false or a word."""
    name, sign, value = text.partition("=")
    if not (name and sign and value):
        msg = f"{wording.quoted(text)} is not NAME=VALUE"
        raise argparse.ArgumentTypeError(msg)
    return name.replace("-", "_"), _value(value)


def _value(text: str) -> Any:
    if "," in text:
        return [_value(part) for part in text.split(",")]
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def method_of(options: argparse.Namespace, step_size: float | StepRule) -> SteppingMethod:
    """Return the method that the options describe. Raises TypeError or ValueError."""
    given: dict[str, Any] = {}
    for name, value in options.method_option:
        if name in given or name in _OF_THE_GRID:
            why = "given twice" if name in given else f"--{name.replace('_', '-')} says it"
            msg = f"--method-option {name}: {why}"
            raise BadInput(msg)
        given[name] = value
    kind: Any = names()[options.method]
    own = {**given, "step_size": step_size, "weight_decay": options.weight_decay}
    for name in given:
        if name not in arguments(kind):
            known = ", ".join(n for n in arguments(kind) if n not in _OF_THE_GRID)
            msg = f"--method-option {name}: {options.method} has {known}"
            raise BadInput(msg)
    try:
        made: SteppingMethod = plain.call("method", kind, own)
    except (TypeError, ValueError) as error:
        msg = f"--method-option: {error}"
        raise BadInput(msg) from error
    return made
