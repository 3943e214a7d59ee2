"""Which compiled modules this installation has, and which of them is loaded.

There is one per instruction set: ``_core_v2``, ``_core_v3`` and ``_core_v4`` (the levels of
x86-64), or ``_core_generic`` elsewhere. Wheels have them all, a build from source has that of the
machine it was built on.
"""

from __future__ import annotations

import importlib
import importlib.util
import os

LEVELS = ("generic", "v2", "v3", "v4")
"""All there are, slowest first."""

BUILD_ALL = "pip install . -Ccmake.define.LINNET_ISA_LEVELS=all"
"""What compiles a module for each of them, in a clone."""


def built() -> list[str]:
    """Return the levels this installation has modules for, slowest first."""
    package = __name__.rpartition(".")[0]
    return [level for level in LEVELS if importlib.util.find_spec(f"{package}._core_{level}")]


def supported() -> list[str]:
    """Return the levels that this processor runs, slowest first."""
    try:
        cpu = importlib.import_module("linnet_fast._core._cpu")  # fails if nothing was compiled
    except ImportError as error:
        error.add_note(
            "linnet_fast was not compiled: install it with pip, and import the installed one"
        )
        raise
    return ["generic", *cpu.supported_levels()]


def choose() -> str:
    """Return the level to load: the best there is, or that of ``LINNET_FAST_ISA``."""
    own = built()
    here = supported()
    runnable = [level for level in own if level in here]
    forced = os.environ.get("LINNET_FAST_ISA")
    if not runnable:
        msg = (
            f"linnet_fast was compiled for {', '.join(own) or 'nothing'}, and this processor runs "
            f"{', '.join(here)}: install it again on this machine (in a clone of the repository, "
            f"pip install --force-reinstall --no-deps .), or once for every processor: {BUILD_ALL}"
        )
        raise ImportError(msg)
    if forced and forced not in runnable:
        msg = f"LINNET_FAST_ISA must be one of {', '.join(runnable)} here, got {forced!r}"
        if forced in LEVELS and forced not in own:
            msg += f": it was not compiled; this compiles every instruction set: {BUILD_ALL}"
        elif forced in LEVELS:
            msg += f": this processor runs {', '.join(here)}"
        raise ImportError(msg)
    return forced or runnable[-1]
