"""How step sizes of ``linnet-fast train`` change: schedules by their names, and what they are made with."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from linnet_fast.cli.outputs import BadInput
from linnet_fast.methods.step_rule import StepRule

OPTIONS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "constant": {},
        "power": {"exponent": "exponent"},
        "geometric": {"ratio": "exponent"},
        "piecewise": {"values": "values", "boundaries": "boundaries"},
        "cosine": {"n_steps": "n_steps", "floor": "floor", "begin": "begin"},
        "inverse-sqrt": {"n_steps": "n_steps"},
        "loss-normalized": {},
        "norm-proportional": {},
        "gradient-normalized": {},
    }
)
"""Name of each schedule -> its options and what `StepRule` calls them; all have warmup_steps."""
_WARMUP = "warmup_steps"
_LISTS = ("values", "boundaries")
_OF_STEPS = tuple(OPTIONS)[:6]
"""Those of which a usual step size is one, too."""


def check(options: argparse.Namespace) -> None:
    """Refuse options of no schedule, and schedules whose step sizes nobody can guess."""
    known = [*OPTIONS[options.schedule], _WARMUP]
    names = [name for name, _ in options.schedule_option]
    for name in names:
        if name not in known or names.count(name) > 1:
            why = "given twice" if name in known else f"{options.schedule} has {', '.join(known)}"
            msg = f"--schedule-option {name}: {why}"
            raise BadInput(msg)
    if options.schedule not in _OF_STEPS and options.step_sizes is None:
        msg = f"--schedule {options.schedule} needs --step-sizes: what is usual is for others"
        raise BadInput(msg)


def is_rule(options: argparse.Namespace) -> bool:
    """Return whether step sizes change."""
    return options.schedule != "constant" or bool(options.schedule_option)


def rule_of(options: argparse.Namespace, step_size: float, n_steps: int) -> StepRule:
    """Return the rule that the options describe, which begins with, or comes to, a step size."""
    given: dict[str, Any] = dict(options.schedule_option)
    warm = given.pop(_WARMUP, 0)
    for name in _LISTS:
        if name in given and not isinstance(given[name], list):
            given[name] = [given[name]]
    if options.schedule == "cosine":
        begin = given.setdefault("begin", warm)
        if isinstance(begin, (int, float)):
            given.setdefault("n_steps", max(n_steps - begin, 1))
    names = OPTIONS[options.schedule]
    kind = "power" if options.schedule == "constant" else options.schedule.replace("-", "_")
    own = {names[name]: value for name, value in given.items()}
    try:
        return StepRule(kind, step_size, **own, warmup_steps=warm)
    except (TypeError, ValueError) as error:
        msg = f"--schedule-option: {error}"
        raise BadInput(msg) from error
