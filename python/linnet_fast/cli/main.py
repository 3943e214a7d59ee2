"""The command ``linnet-fast``: the list of its commands, and what their ends are to the shell."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from linnet_fast.cli import completion, cost, info, reproduce, show, signals, sweep, train
from linnet_fast.cli.arguments import Parser
from linnet_fast.cli.outputs import BAD_INPUT, FAILED, OK, BadInput, Failed, ReaderGone

_COMMANDS = (train, sweep, show, reproduce, cost, info, completion)

_DESCRIPTION = """\
Train deep linear networks, many at once, by gradient descent on the squared loss."""

_EPILOG = """\
examples:
  linnet-fast train digits        handwritten digits, 260 runs: table, result file and picture
  linnet-fast train --help        all there is to choose
  linnet-fast sweep sweep.toml    what a file describes: any parameters, resumed where it was cut short
  linnet-fast show runs.zarr      what a sweep has found so far: table and picture
  linnet-fast cost "Diagonal(width=4, n_layers=2)" predictors.csv
                                  what predictors cost in the weights of a network
  linnet-fast info                what this installation runs on
  linnet-fast completion bash     what makes bash complete all this"""


def entry_point() -> int:
    """Run the command with the arguments of this process.

    Returns
    -------
    int
        Exit code.
    """
    return main(sys.argv[1:])


def main(arguments: Sequence[str]) -> int:
    """Run the command.

    Parameters
    ----------
    arguments : sequence of str
        What follows the command's name.

    Returns
    -------
    int
        Exit code: 0 done, 1 failed while running, 2 bad usage or data, 130 interrupted by Ctrl-C, 143 by
        SIGTERM, 129 by SIGHUP.

    Examples
    --------
    >>> main(["train", "iris", "--steps", "10", "--out", "none", "--plot", "none", "--quiet"])
    0
    """
    try:
        options = parser().parse_args(arguments)
    except SystemExit as end:
        return _flushed(int(end.code or 0))
    except ReaderGone:
        return _unread()
    except Failed as error:
        _give_up_stdout()
        return _fail(str(error), FAILED)
    with signals.interrupting() as interruption:
        try:
            return _run(options)
        except KeyboardInterrupt as error:
            return _fail(str(error) or "interrupted", interruption.code)


def _run(options: argparse.Namespace) -> int:
    try:
        code: int | None = options.run(options)
        return _flushed(OK if code is None else code)
    except (BrokenPipeError, ReaderGone):
        return _unread()
    except BadInput as error:
        return _fail(str(error), BAD_INPUT)
    except (Failed, ImportError, MemoryError) as error:
        if isinstance(error.__cause__, OSError):
            _flushed(FAILED)
        return _fail(str(error) or "not enough memory", FAILED)
    except OSError as error:
        # Files are told of where they are written: this is a full disk under what is printed.
        _give_up_stdout()
        return _fail(f"cannot write: {error.strerror or error}", FAILED)


def _unread() -> int:
    """Return the exit code where nobody reads any more, and knows."""
    _give_up_stdout()
    return FAILED


def _flushed(code: int) -> int:
    """Return an exit code once all is printed; another if that fails."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return _unread()
    except OSError as error:
        _give_up_stdout()
        return code if code == FAILED else _fail(f"cannot write: {error.strerror or error}", FAILED)
    return code


def _give_up_stdout() -> None:
    """Print into nothing: Python would complain again at its exit."""
    with contextlib.suppress(OSError, ValueError):  # no file, as under tests
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line.

    Returns
    -------
    argparse.ArgumentParser
        What it gives has a `command`, its name, `run`, the function to call with all options, and
        `parser`, this one.

    Examples
    --------
    >>> options = parser().parse_args(["train", "digits", "--scales", "1e-2:1:3"])
    >>> options.command, options.data, options.scales.round(3).tolist()
    ('train', 'digits', [0.01, 0.1, 1.0])
    """
    result = Parser(
        "linnet-fast",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    result.add_argument(
        "--version", action="version", version=f"linnet-fast {version('linnet-fast')}"
    )
    result.set_defaults(parser=result)  # of which `completion` tells a shell
    commands = result.add_subparsers(metavar="COMMAND", dest="command", required=True)
    for command in _COMMANDS:
        command.add(commands)
    return result


def _fail(message: str, code: int) -> int:
    with contextlib.suppress(OSError):  # a terminal that was closed
        print(f"linnet-fast: {' '.join(message.split())}", file=sys.stderr)
    return code
