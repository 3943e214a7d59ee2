"""The tables in Markdown, and the numbers behind them in JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Heading:
    """How the table of a section reads."""

    title: str
    value: str
    at_most: bool = False
    percent: bool = False


HEADINGS = {
    "batched": Heading("Batches, two layers", "over best"),
    "single": Heading("One run on one thread, two layers", "over best"),
    "depth": Heading("Other depths: how far the ratio over the best rival is kept", "kept"),
    "float32": Heading("float32 over float64", "ratio"),
    "peak": Heading("Share of the FMA peak, two layers", "share"),
    "records": Heading(
        "Time added by records of loss and singular values", "added", at_most=True, percent=True
    ),
    "observed": Heading(
        "What a record of an observable costs, in steps of the training", "steps", at_most=True
    ),
    "sharpness": Heading(
        "Sharpness along trainings of dense networks; results per second", "over best"
    ),
    "methods": Heading(
        "Steps of a method over steps of plain descent, two layers; time", "ratio", at_most=True
    ),
    "optimisers": Heading("Momentum, Adam and spectral descent, two layers", "over best"),
    "threads": Heading("More threads over one", "ratio"),
    "flow": Heading(
        "Gradient flow, two layers, scale 1e-6 to time 200; runs per second", "over it"
    ),
    "chain": Heading("Diagonal, convolutional and residual chains, one output", "over it"),
    "binary": Heading(
        "Logistic loss on n samples, or of the Gaussian law (n = 0), one output", "over it"
    ),
    "samples": Heading("Squared loss on n samples of d inputs, diagonal, two layers", "over best"),
    "minibatch": Heading(
        "Squared loss by batches of size samples out of n, two layers, one output", "over best"
    ),
    "softmax": Heading("Cross-entropy of digits, two layers", "over best"),
    "completion": Heading(
        "Matrix completion from a share of the entries, L square layers", "over best"
    ),
    "reduced": Heading(
        "Wide and thin dense networks, reduced where they can be, over rivals", "over best"
    ),
    "nominal": Heading(
        "Seconds for a sweep over starts of a nominal width, on digits; runs per second",
        "seconds",
        at_most=True,
    ),
    "completion_chain": Heading(
        "Matrix completion over the same networks on the squared loss of white inputs", "ratio"
    ),
    "sweep": Heading(
        "Sweeps that keep last losses, two layers, starts drawn; runs per second", "over best"
    ),
    "sweep_layer": Heading(
        "Time that a sweep adds to training; runs per second", "added", at_most=True, percent=True
    ),
    "sweep_million": Heading("Seconds for a sweep; runs per second", "seconds", at_most=True),
    "sweep_workers": Heading("Sweeps by worker processes over threads; runs per second", "ratio"),
    "sweep_teachers": Heading(
        "Sparse regression over size of the start, depth and drawn data", "over best"
    ),
    "cost": Heading("Costs of convolutional networks of two layers; costs per second", "over it"),
    "cost_depth": Heading(
        "Costs of deeper convolutional networks: their time over that for two layers",
        "ratio",
        at_most=True,
    ),
}


def write(results: Mapping[str, Any], folder: Path) -> None:
    """Write ``bench.json`` and ``bench.md`` into a folder, made if there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (folder / "bench.md").write_text(markdown(results), encoding="utf-8")


def markdown(results: Mapping[str, Any]) -> str:
    """Return the report of what has been measured so far."""
    blocks = [_preamble(results)]
    for section, result in results["sections"].items():
        heading = HEADINGS[section]
        blocks += [f"## {heading.title}", _goals_table(heading, result["rows"])]
        ways = _ways_table(result["rows"])
        if ways:
            blocks.append(ways)
    return "\n\n".join(blocks) + "\n"


def _preamble(results: Mapping[str, Any]) -> str:
    settings = results["settings"]
    text = (
        "# linnet_fast beside its rivals\n\n"
        f"Run-steps per second, the best of {settings['rounds']} interleaved rounds of about "
        f"{settings['seconds']} s each; float64 and {settings['n_threads']} threads unless a table "
        "says otherwise. *Median* is that of the ratios within a round; *others* is how many "
        "processors other processes kept busy meanwhile, and should be near 0. Compile time is "
        "apart."
    )
    if results["quick"]:
        text += "\n\n**A smoke run on tiny problems: its numbers mean nothing.**"
    sections = list(results["sections"].values())
    if sections:
        machine = sections[0]["machine"]
        ours = machine["linnet_fast"]
        rivals = "".join(f"; {name} {number}" for name, number in machine["rivals"].items())
        text += (
            f"\n\n{machine['processor']}, {machine['processors']} processors; linnet_fast "
            f"{ours['version']} ({ours['isa']}, {ours['compiler']}){rivals}; "
            f"{machine['measured']}."
        )
    return text


def _goals_table(heading: Heading, rows: list[Mapping[str, Any]]) -> str:
    competitors = _union([*row["rates"], *row["missing"]] for row in rows)
    beside = _union(row["beside"] for row in rows)
    with_rival = any(row["best_rival"] for row in rows)
    head = [
        *rows[0]["case"],
        *competitors,
        *(["best rival"] if with_rival else []),
        *beside,
        heading.value,
        "median",
        "goal",
        "met",
        "others",
    ]
    bound = "at most" if heading.at_most else "at least"
    body = [
        [
            *(str(number) for number in row["case"].values()),
            *(
                "missing"
                if name in row["missing"]
                else rate_text(max(row["rates"].get(name, []), default=None))
                for name in competitors
            ),
            *([row["best_rival"] or "none"] if with_rival else []),
            *(_number(row["beside"].get(name)) for name in beside),
            _number(row["value"], percent=heading.percent),
            _number(row["median"], percent=heading.percent),
            f"{bound} {_number(row['goal'], percent=heading.percent)}",
            _met(heading, row),
            _number(row["others"]),
        ]
        for row in rows
    ]
    return table(head, body)


def _ways_table(rows: list[Mapping[str, Any]]) -> str:
    """List the way each competitor took, and the ways it tried."""
    body = []
    for row in rows:
        for name, entry in row["entries"].items():
            tried = sorted(entry["tried"].items(), key=lambda item: -item[1])
            body.append(
                [
                    case_name(row["case"]),
                    name,
                    entry["way"],
                    f"{entry['first_call']:.2f}",
                    "; ".join(f"{way} {rate_text(rate)}" for way, rate in tried),
                ]
            )
    if not body:
        return ""
    head = ["case", "competitor", "way", "first call, s", "ways tried, in short trials"]
    return f"<details><summary>Ways</summary>\n\n{table(head, body)}\n\n</details>"


def case_name(case: Mapping[str, Any]) -> str:
    """Return a case in words."""
    return ", ".join(f"{key} {value}" for key, value in case.items())


def _met(heading: Heading, row: Mapping[str, Any]) -> str:
    if row["value"] is None:
        return "no rival"
    if heading.at_most:
        return "yes" if row["value"] <= row["goal"] else "**no**"
    return "yes" if row["value"] >= row["goal"] else "**no**"


def _union(groups: Iterable[Iterable[str]]) -> list[str]:
    """Return the names of all groups, once each, in order of appearance."""
    return list(dict.fromkeys(name for group in groups for name in group))


def rate_text(rate: float | None) -> str:
    """Return a rate with three significant digits and the prefix of its unit."""
    if rate is None:
        return "-"
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if rate >= size:
            return f"{_number(rate / size)} {unit}"
    return _number(rate)


def _number(number: float | None, *, percent: bool = False) -> str:
    """Return three significant digits, never in scientific notation."""
    if number is None:
        return "-"
    if percent:
        return f"{100 * number:.1f} %"
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.3g}"


def table(head: list[str], body: list[list[str]]) -> str:
    """Return a table in Markdown."""
    cells = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)
