"""What every command does with files and with failures: checks before any work, writes, exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from linnet_fast._base import files, wording

Tell: TypeAlias = Callable[[str], object]

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: done, failed while running, bad usage or data, Ctrl-C."""

NONE = "none"
"""What stands for no file."""

_NARROWEST = 20  # columns; below nothing can be read

PICTURES = (".png", ".pdf", ".svg")
"""What the name of a picture may end in."""


class BadInput(Exception):
    """Bad usage or bad data."""


class Failed(Exception):
    """Failed while running."""


class ReaderGone(Exception):
    """Nobody reads any more what is printed, as after `| head -1`."""


def teller(*, quiet: bool) -> Tell:
    """Return what prints a line at once, or nothing if `quiet`."""
    return _nothing if quiet else _print


def width() -> int | None:
    """Return how wide lines may be: as the terminal, or as COLUMNS says; None where neither is there."""
    try:
        told = int(os.environ.get("COLUMNS", "0"))
        found = told if told > 0 else os.get_terminal_size(sys.stdout.fileno()).columns
    except (AttributeError, OSError, ValueError):  # no terminal, or no file at all
        return None
    return max(found, _NARROWEST) if found > 0 else None


def _print(text: str) -> None:
    """Print lines, none wider than the terminal; what goes wrong there is no error of a file that a command writes."""
    room = width()
    printed(text if room is None else wording.folded(text, room))


def printed(text: str, end: str = "\n") -> None:
    """Print a text at once."""
    try:
        print(text, end=end, flush=True)
    except BrokenPipeError as error:
        raise ReaderGone from error
    except OSError as error:
        msg = f"cannot write: {error.strerror or error}"
        raise Failed(msg) from error


def _nothing(_text: str) -> None:
    """Tell nothing."""


def cannot_read(error: OSError, what: object) -> BadInput:
    """Return what to raise where a file, or `what` if it is not known which, cannot be read."""
    return BadInput(f"cannot read {error.filename or what}: {error.strerror or error}")


def named(text: str) -> Path | None:
    """Return the file that an option names, None for "none"."""
    return None if text == NONE else Path(text)


def check_file(flag: str, file: Path | None, suffixes: Sequence[str], *, force: bool) -> None:
    """Refuse a file, if there is to be one, of another form, that cannot be written or is there."""
    if file is None:
        return
    if file.suffix not in suffixes:
        msg = f"{flag} must end in {' or '.join(suffixes)}, got {str(file)!r}"
        raise BadInput(msg)
    check_writable(file)
    check_free(file, force=force)


def check_writable(file: Path) -> None:
    """Refuse what cannot be written to, before any work."""
    if not file.parent.is_dir():
        msg = f"cannot write {file}: there is no directory {file.parent}"
        raise Failed(msg)
    if file.is_dir() or not os.access(file.parent, os.W_OK):
        msg = f"cannot write {file}: {'it is a directory' if file.is_dir() else 'no permission'}"
        raise Failed(msg)


def check_free(file: Path, *, force: bool) -> None:
    """Refuse to replace a file that is there, before any work, unless that was asked for."""
    if not force and os.path.lexists(file):
        msg = f"{file} is there already: --force replaces it"
        raise Failed(msg)


def check_picture(file: Path | None, *, force: bool) -> None:
    """Refuse a picture, if there is to be one, that cannot be drawn or written, or is there."""
    check_file("--plot", file, PICTURES, force=force)
    if file is not None:
        draw_without_a_window()


def draw_without_a_window() -> None:
    """Have matplotlib draw into files: no window is needed, and some machines have none."""
    files.optional("matplotlib", "plot").use("agg")


def write(file: Path, write_it: Callable[[], object], tell: Tell) -> None:
    """Write a file and tell how large it is."""
    try:
        write_it()
    except OSError as error:
        msg = f"cannot write {file}: {error.strerror or error}"
        raise Failed(msg) from error
    tell(f"wrote {file} ({file.stat().st_size / 1e6:.1f} MB)")
