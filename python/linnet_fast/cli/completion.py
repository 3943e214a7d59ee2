"""The command ``linnet-fast completion``: what makes a shell complete the other commands."""

from __future__ import annotations

import argparse

from linnet_fast._base import files
from linnet_fast.cli.arguments import Commands, new_command

_SHELLS = ("bash", "zsh")
_OF_FILES = ("FILE", "PICTURE", "PAGE", "STORE", "DATA")
_OF_FOLDERS = ("DIR",)

_DESCRIPTION = """\
Print a script with which a shell completes commands, options, choices and names of files after the
tab key. Write it to where the shell looks for such scripts, once, and open a new shell."""

_EPILOG = """\
examples:
  linnet-fast completion bash > ~/.local/share/bash-completion/completions/linnet-fast
  linnet-fast completion zsh > ~/.zfunc/_linnet-fast
      with `fpath+=~/.zfunc; autoload -Uz compinit; compinit` in ~/.zshrc

exit codes: 0 done, 1 shtab is not installed, 2 bad usage"""


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = new_command(
        commands, "completion", run, "what makes a shell complete", _DESCRIPTION, _EPILOG
    )
    parser.add_argument("shell", choices=_SHELLS, help="which shell")


def run(options: argparse.Namespace) -> None:
    """Print the script."""
    shtab = files.optional("shtab", "completion")
    parser: argparse.ArgumentParser = options.parser
    _mark(parser, dict.fromkeys(_OF_FILES, shtab.FILE) | dict.fromkeys(_OF_FOLDERS, shtab.DIR))
    print(shtab.complete(parser, options.shell), end="")


def _mark(parser: argparse.ArgumentParser, completes: dict[str, object]) -> None:
    """Tell which arguments are files and folders, of a parser and of those of its commands."""
    for action in parser._actions:  # argparse has no other list of them
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _mark(command, completes)
        elif action.metavar in completes:
            action.complete = completes[str(action.metavar)]  # type: ignore[attr-defined]
