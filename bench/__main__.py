"""Command line: ``python -m bench`` from the root of the repository."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from bench import report
from bench.rivals import RIVALS

_HERE = Path(__file__).parent


def main() -> int:
    """Measure, print the tables and write them; each section in a process of its own."""
    goals = tomllib.loads((_HERE / "goals.toml").read_text(encoding="utf-8"))
    options = _options()
    timing = goals["timing"] | (goals["quick"]["timing"] if options.quick else {})
    settings = {
        "n_threads": timing["n_threads"],
        "rounds": options.rounds or timing["rounds"],
        "seconds": options.seconds or timing["seconds"],
        "rivals": options.rivals,
    }
    results: dict[str, Any] = {"quick": options.quick, "settings": settings, "sections": {}}
    for section in options.only:
        rows = goals[section]
        if options.quick:
            sizes = goals["quick"]["sizes"]
            rows = [{key: sizes.get(key, value) for key, value in rows[0].items()}]
        n_threads = 1 if section == "single" else timing["n_threads"]
        try:
            result = _measure(section, rows, settings | {"n_threads": n_threads})
        except subprocess.CalledProcessError as error:
            sys.stderr.write(f"section {section} failed with exit status {error.returncode}\n")
            return 1
        results["sections"][section] = result
        # After each section, so that a long run that is cut short leaves what it measured.
        report.write(results, options.output)
    sys.stdout.write(report.markdown(results))
    return 0


def _measure(section: str, goals: list[dict[str, Any]], settings: dict[str, Any]) -> dict[str, Any]:
    """Return the rows of a section from a process whose libraries all get the same threads."""
    n_threads = settings["n_threads"]
    names = ("OMP", "MKL", "OPENBLAS", "NUMBA", "VECLIB_MAXIMUM")
    environment = os.environ | {f"{name}_NUM_THREADS": str(n_threads) for name in names}
    environment |= {
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_X64": "1",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={n_threads}",
    }
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "rows.json"
        job = {"section": section, "goals": goals, "settings": settings, "output": str(output)}
        subprocess.run(
            [sys.executable, "-X", "faulthandler", "-m", "bench.worker"],
            input=json.dumps(job),
            text=True,
            check=True,
            cwd=_HERE.parent,
            env=environment,
            stdout=sys.stderr,
        )
        result: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
        return result


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure linnet_fast beside its rivals; print and write tables with goals.",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=report.HEADINGS,
        default=list(report.HEADINGS),
        metavar="SECTION",
        help=f"sections to measure, of {', '.join(report.HEADINGS)}",
    )
    parser.add_argument(
        "--rivals",
        nargs="*",
        choices=RIVALS,
        default=list(RIVALS),
        metavar="RIVAL",
        help=f"rivals to run, of {', '.join(RIVALS)}; none named means none run",
    )
    parser.add_argument("--rounds", type=_positive_int, help="interleaved rounds")
    parser.add_argument(
        "--seconds", type=_positive_float, help="length of one competitor's turn in a round"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a smoke run: one tiny row of each section"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=_HERE / "results",
        metavar="FOLDER",
        help="where bench.json and bench.md go (default: %(default)s)",
    )
    return parser.parse_args()


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
