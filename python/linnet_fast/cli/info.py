"""The command ``linnet-fast info``: what this installation is and what it runs on."""

from __future__ import annotations

import argparse

from linnet_fast._base import files
from linnet_fast._base.config import config, show_config
from linnet_fast.cli.arguments import Commands


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "info",
        help="show version, instruction set, threads and compiler",
        description="Show what this installation is and what it runs on: put it into bug reports.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print it as JSON, and nothing else",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print it."""
    if options.json:
        print(files.to_json(config()))
    else:
        show_config()
