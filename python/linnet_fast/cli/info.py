"""The command ``linnet-fast info``: what this installation is and what it runs on."""

from __future__ import annotations

import argparse

from linnet_fast._base.config import show_config
from linnet_fast.cli.arguments import Commands


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "info",
        help="show version, instruction set, threads and compiler",
        description="Show what this installation is and what it runs on: put it into bug reports.",
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)


def run(_options: argparse.Namespace) -> None:
    """Print it."""
    show_config()
