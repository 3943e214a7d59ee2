"""Command line: ``python -m bench`` from the root of the repository."""

from __future__ import annotations

import argparse
import sys
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import against, report
from bench import measured as cited
from bench.process import MeasuringError, measured
from bench.rivals import NAMES
from bench.timing import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_HERE = Path(__file__).parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure beside the rivals or against another build; print what came of it."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.update and (options.quick or options.against):
        parser.error("argument --update: expected a measurement in earnest, of this build")
    if options.commands:
        if not options.update or options.only:
            parser.error("argument --commands: expected --update, and no --only")
        return _tell(cited.update_commands())
    goals = tomllib.loads((_HERE / "goals.toml").read_text(encoding="utf-8"))
    timing = goals["timing"]
    if options.against:
        timing |= goals["against"]["timing"]
    if options.quick:
        timing |= goals["quick"]["timing"]
    settings = Settings(
        timing["n_threads"],
        options.rounds or timing["rounds"],
        options.seconds or timing["seconds"],
        options.rivals,
        repeat_disturbed=not options.quick,
    )
    sections = options.only or (against.SECTIONS if options.against else tuple(report.HEADINGS))
    rows = {section: goals[section] for section in sections}
    if options.quick:
        rows = {section: _quick(rows[section], goals["quick"]["sizes"]) for section in sections}
    try:
        if options.against:
            text, worst = against.compare(options.against, rows, settings, quick=options.quick)
            sys.stdout.write(text)
            return int(worst > 1 + options.tolerance / 100)
        results = _measure(rows, settings, options)
        if options.update:
            _tell(cited.update(results))
    except against.SameLibraryError as error:
        parser.error(f"argument --against: expected another linnet_fast, but {error}")
    except MeasuringError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _measure(
    rows: Mapping[str, list[dict[str, Any]]], settings: Settings, options: argparse.Namespace
) -> dict[str, Any]:
    """Measure sections one by one, or at once in a smoke run; print, write and return the tables."""
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
    return results


def _tell(lines: Sequence[str]) -> int:
    sys.stderr.writelines(f"{line}\n" for line in lines)
    return 0


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
        help=f"sections to measure, of {', '.join(report.HEADINGS)}; default: all, or with "
        f"--against {', '.join(against.SECTIONS)}",
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
        "--against",
        type=_library,
        metavar="PATH",
        help="compare this build of linnet_fast with another, in processes of each in turn, without "
        "rivals: the folder that holds the other package (say ../other/python), or a Python that "
        "imports it; prints the ratio of least times for each row",
    )
    parser.add_argument(
        "--tolerance",
        type=_positive_float,
        default=3.0,
        metavar="PERCENT",
        help="with --against: exit status 1 if a row takes longer than the other's by more than "
        "this (default: %(default)s)",
    )
    parser.add_argument(
        "--update",
        action="store_true",
        help="put what was measured into bench/measured.toml, and into the pages that cite it",
    )
    parser.add_argument(
        "--commands",
        action="store_true",
        help="with --update: time the commands whose seconds are cited, and no section",
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


def _library(text: str) -> Path:
    path = Path(text)
    if not (path / "linnet_fast").is_dir() and not path.is_file():
        msg = f"expected a folder that holds linnet_fast, or a Python, got {text}"
        raise argparse.ArgumentTypeError(msg)
    return path


if __name__ == "__main__":
    sys.exit(main())
