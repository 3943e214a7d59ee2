"""The command ``linnet-fast show``: what a sweep has found, also while it runs."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from linnet_fast import plot
from linnet_fast._base import files
from linnet_fast.cli import outputs, sweep_lines, sweep_picture, sweep_summary, sweep_table
from linnet_fast.cli.arguments import Commands, add_force, new_command
from linnet_fast.cli.outputs import BadInput, Failed
from linnet_fast.sweeps.file import reader, toml
from linnet_fast.sweeps.sweep import SweepError, open_sweep

_DESCRIPTION = """\
Show what a sweep has found, also while it runs: what was swept, how many runs are done, a table of
medians over seeds, and a picture if asked for."""

_EPILOG = """\
examples:
  linnet-fast show runs.zarr
  linnet-fast show runs.zarr --of learned_rank --select n_layers=3 --plot rank.png
  linnet-fast show runs.zarr --csv runs.csv
  linnet-fast show runs.zarr --json | jq '.[0].final_loss'
  linnet-fast show runs.zarr --html runs.html

exit codes: 0 done, 1 no such store, or a file cannot be written, 2 bad usage"""


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = new_command(
        commands, "show", run, "show what a sweep has found so far", _DESCRIPTION, _EPILOG
    )
    parser.add_argument("store", type=Path, metavar="STORE", help="what `linnet-fast sweep` wrote")
    parser.add_argument("--of", metavar="NAME", help="which result (default: final_loss)")
    parser.add_argument("--x", metavar="NAME", help="parameter of the rows, and the x axis")
    parser.add_argument("--y", metavar="NAME", help="parameter of the columns, and the y axis")
    parser.add_argument("--by", metavar="NAME", help="parameter with a curve for each value")
    parser.add_argument(
        "--select",
        type=_selection,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="only the runs at this value of a parameter; as often as needed",
    )
    parser.add_argument(
        "--kind", choices=reader.PLOTS, help="of the picture (default: both, if it can be)"
    )
    parser.add_argument("--plot", metavar="PICTURE", help="draw it: .png, .pdf or .svg")
    parser.add_argument(
        "--csv", metavar="FILE", help="write results as a table, a line per run: .csv, or .parquet"
    )
    parser.add_argument(
        "--html",
        metavar="PAGE",
        help="write a page to look through in a browser: any result over any two parameters, and curves",
    )
    add_force(parser)
    parser.add_argument(
        "--json",
        action="store_true",
        help="print a line per run, as --csv writes them, as JSON, and nothing else; inf and nan are texts",
    )


def _selection(text: str) -> tuple[str, Any]:
    try:
        names, value = toml.setting(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return ".".join(names), value


def run(options: argparse.Namespace) -> None:
    """Print what there is, and draw it if asked to."""
    picture = None if options.plot is None else outputs.named(options.plot)
    outputs.check_picture(picture, force=options.force)
    listed = None if options.csv is None else outputs.named(options.csv)
    outputs.check_file("--csv", listed, sweep_lines.SUFFIXES, force=options.force)
    page = None if options.html is None else outputs.named(options.html)
    outputs.check_file("--html", page, (".html",), force=options.force)
    tell = outputs.teller(quiet=options.json)
    names = ("of", "x", "y", "by", "kind")
    chosen = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    chosen["select"] = dict(options.select)
    try:
        data = open_sweep(options.store).load()
        if options.json:
            print(files.to_json(sweep_lines.lines(data, chosen["select"]).to_dict("records")))
        else:
            tell(sweep_summary.about(data, options.store))
            table = sweep_table.table(data, **sweep_picture.of_table(chosen))
            tell(f"\n{table}\n")
        if listed is not None:
            outputs.write(listed, partial(sweep_lines.save, data, chosen["select"], listed), tell)
        if page is not None:
            save_page = partial(plot.page, data, page, title=options.store.stem)
            outputs.write(page, save_page, tell)
        if picture is not None:
            parts = (f"{name} = {value}" for name, value in options.select)
            title = "; ".join([sweep_summary.title_of(data), *parts])
            save = partial(sweep_picture.save, data, chosen, title, picture)
            outputs.write(picture, save, tell)
    except SweepError as error:
        raise Failed(str(error)) from error
    except ValueError as error:
        raise BadInput(str(error)) from error
