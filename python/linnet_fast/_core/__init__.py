"""The compiled core: picks the module for this processor.

There is one module per instruction set, ``_core_v2``, ``_core_v3`` and ``_core_v4`` (the levels of
x86-64), or ``_core_generic`` elsewhere. The best one that the processor runs is taken, or the one
that the environment variable ``LINNET_FAST_ISA`` names.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from types import ModuleType


def _built_levels() -> list[str]:
    """Return the levels this installation has modules for, slowest first."""
    levels = ("generic", "v2", "v3", "v4")
    return [level for level in levels if importlib.util.find_spec(f"{__name__}._core_{level}")]


def _choose() -> str:
    """Return the level to load."""
    built = _built_levels()
    try:
        from linnet_fast._core import _cpu  # noqa: PLC0415  (fails if nothing was compiled)
    except ImportError as error:
        error.add_note(
            "linnet_fast was not compiled: install it with pip, and import the installed one"
        )
        raise
    runnable = [level for level in built if level == "generic" or level in _cpu.supported_levels()]
    forced = os.environ.get("LINNET_FAST_ISA")
    if forced:
        if forced not in runnable:
            msg = f"LINNET_FAST_ISA must be one of {', '.join(runnable)} on this machine, got {forced!r}"
            raise ImportError(msg)
        return forced
    if not runnable:
        msg = f"no compiled core runs on this processor: built for {', '.join(built) or 'none'}"
        raise ImportError(msg)
    return runnable[-1]


def _load() -> ModuleType:
    return importlib.import_module(f"linnet_fast._core._core_{_choose()}")


_module = _load()
train = _module.train
train_flow = _module.train_flow
observe = _module.observe
known = _module.known
logit_descent = _module.logit_descent
factor_descent = _module.factor_descent
layer_descent = _module.layer_descent
radial_functions = _module.radial_functions
reduced_flow = _module.reduced_flow
reduced_flow_turn = _module.reduced_flow_turn
reduced_descent = _module.reduced_descent
kernel_cost = _module.kernel_cost
build_info = _module.build_info
default_threads = _module.default_threads
fma_peak = _module.fma_peak
status_messages = _module.status_messages

__all__ = [
    "build_info",
    "default_threads",
    "factor_descent",
    "fma_peak",
    "kernel_cost",
    "known",
    "layer_descent",
    "logit_descent",
    "observe",
    "radial_functions",
    "reduced_descent",
    "reduced_flow",
    "reduced_flow_turn",
    "status_messages",
    "train",
    "train_flow",
]
