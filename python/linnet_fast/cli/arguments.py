"""What the commands' options are made of: a parser per command, and types of arguments."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

from linnet_fast._base import wording
from linnet_fast.cli import outputs

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""Where a command adds its parser."""


class Parser(argparse.ArgumentParser):
    """A parser whose help ends as other outputs do where it cannot be written, which argparse keeps to itself."""

    def _print_message(self, message: str, file: Any = None) -> None:
        if message and file is sys.stdout:
            outputs.printed(message, end="")
        else:
            super()._print_message(message, file)


def new_command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], int | None],
    summary: str,
    description: str,
    epilog: str | None = None,
) -> argparse.ArgumentParser:
    """Return the parser of a new command, whose texts are shown as they are."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    return parser


def add_force(parser: argparse._ActionsContainer, what: str = "files") -> None:
    """Add the option without which nothing that is there is replaced."""
    text = f"replace {what} that are there; without it they are kept, and nothing is done"
    parser.add_argument("--force", action="store_true", help=text)


def single(run_shape: tuple[int, ...]) -> None:
    """Refuse numbers of several runs, where an option is one of all runs. Raises ValueError."""
    if run_shape:
        msg = f"numbers must be the same for all runs, got run axes {run_shape}"
        raise ValueError(msg)


def number(text: str) -> float:
    """Return a number."""
    try:
        return float(text)
    except ValueError:
        msg = f"{wording.quoted(text)} is not a number"
        raise argparse.ArgumentTypeError(msg) from None


def whole_number(text: str) -> int:
    """Return a whole number, not negative."""
    try:
        value = int(text)
    except ValueError:
        msg = f"{wording.quoted(text)} is not a whole number"
        raise argparse.ArgumentTypeError(msg) from None
    if value < 0:
        msg = f"must not be negative, got {value}"
        raise argparse.ArgumentTypeError(msg)
    return value


def at_least(low: int) -> Callable[[str], int]:
    """Return the type of whole numbers from `low` up."""

    def parse(text: str) -> int:
        value = whole_number(text)
        if not low <= value < 2**62:
            got = value if value < 2**200 else wording.quoted(text)
            msg = f"must be at least {low} and below 2**62, got {got}"
            raise argparse.ArgumentTypeError(msg)
        return value

    return parse


count = at_least(1)
"""Return a whole number from 1 up."""


def share(text: str) -> float:
    """Return a number between 0 and 1."""
    value = number(text)
    if not 0 < value < 1:
        msg = f"must be between 0 and 1, got {text}"
        raise argparse.ArgumentTypeError(msg)
    return value


def not_negative(text: str) -> float:
    """Return a finite number, not negative."""
    value = number(text)
    if not (math.isfinite(value) and value >= 0):
        msg = f"must be finite and not negative, got {text}"
        raise argparse.ArgumentTypeError(msg)
    return value
