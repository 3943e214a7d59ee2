"""Command line: ``python -m bench`` from the root of the repository."""

from __future__ import annotations

import argparse
import sys
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import report
from bench.process import MeasuringError, measured
from bench.rivals import NAMES
from bench.timing import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_HERE = Path(__file__).parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables and write them."""
    options = _parser().parse_args(arguments)
    goals = tomllib.loads((_HERE / "goals.toml").read_text(encoding="utf-8"))
    timing = goals["timing"]
    if options.quick:
        timing |= goals["quick"]["timing"]
    settings = Settings(
        timing["n_threads"],
        options.rounds or timing["rounds"],
        options.seconds or timing["seconds"],
        options.rivals,
        repeat_disturbed=not options.quick,
    )
    sections = options.only or tuple(report.HEADINGS)
    rows = {section: goals[section] for section in sections}
    if options.quick:
        rows = {section: _quick(rows[section], goals["quick"]["sizes"]) for section in sections}
    try:
        _measure(rows, settings, options)
    except MeasuringError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _measure(
    rows: Mapping[str, list[dict[str, Any]]], settings: Settings, options: argparse.Namespace
) -> None:
    """Measure sections one by one, or at once in a smoke run; print the tables and write them."""
    results: dict[str, Any] = {
        "quick": options.quick,
        "settings": asdict(settings),
        "sections": {},
    }
    for sections in [list(rows)] if options.quick else [[section] for section in rows]:
        results["sections"] |= measured(
            {section: rows[section] for section in sections},
            settings,
            quick=options.quick,
        )
        # After each section, so that a long run that is cut short leaves what it measured.
        report.write(results, options.output)
    sys.stdout.write(report.markdown(results))


def _quick(rows: Sequence[dict[str, Any]], sizes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the first row for each rival that rows name, in tiny sizes."""
    first: dict[str, dict[str, Any]] = {}
    for row in rows:
        first.setdefault(row.get("rival", ""), row)
    return [{key: sizes.get(key, value) for key, value in row.items()} for row in first.values()]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure linnet_fast beside its rivals; print and write tables with goals.",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=report.HEADINGS,
        metavar="SECTION",
        help=f"sections to measure, of {', '.join(report.HEADINGS)}; default: all",
    )
    parser.add_argument(
        "--rivals",
        nargs="*",
        choices=NAMES,
        default=list(NAMES),
        metavar="RIVAL",
        help=f"rivals to run, of {', '.join(NAMES)}; none named means none run",
    )
    parser.add_argument("--rounds", type=_positive_int, help="interleaved rounds")
    parser.add_argument(
        "--seconds", type=_positive_float, help="length of one competitor's turn in a round"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a smoke run: one tiny row of each section and rival, all in one process",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=_HERE / "results",
        metavar="FOLDER",
        help="where bench.json and bench.md go (default: %(default)s)",
    )
    return parser


def _positive_int(text: str) -> int:
    number = int(text)
    if number < 1:
        msg = f"expected at least 1, got {text}"
        raise argparse.ArgumentTypeError(msg)
    return number


def _positive_float(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        msg = f"expected a positive number, got {text}"
        raise argparse.ArgumentTypeError(msg)
    return number


if __name__ == "__main__":
    sys.exit(main())
