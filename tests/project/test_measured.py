"""Numbers that pages cite are those of bench/measured.toml, and one command rewrites both."""

from __future__ import annotations

import re
import sys
from datetime import date

import pytest
from support import ROOT

sys.path.insert(0, str(ROOT))
from bench import measured, report

ROWS = measured.rows()


def name_of(row):
    return row.get("command") or f"{row['section']}-{row['case']}-{row['of']}"


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_pages_cite_the_numbers_of_the_file(row):
    assert row["cited"]
    for page, pattern, text in measured.citations(row):
        (found,) = pattern.findall(page.read_text(encoding="utf-8"))
        assert found[1] == text


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_rows_say_what_makes_them(row):
    assert date.fromisoformat(row["date"]) >= date(2026, 1, 1)
    assert row["machine"]
    if "command" not in row:
        goals = measured.tomllib.loads((ROOT / "bench/goals.toml").read_text(encoding="utf-8"))
        assert row["section"] in report.HEADINGS
        assert any(row["case"].items() <= goal.items() for goal in goals[row["section"]])


@pytest.mark.parametrize(
    "first", ["share of the multiply", "share of the peak of", "| 4, 4,096 runs", "| width 4, 10^6"]
)
def test_tables_of_measurements_have_no_other_numbers(first):
    page = ROOT / "docs" / "performance.md"
    text = page.read_text(encoding="utf-8")
    (table,) = re.findall(rf"^\|[^\n]*{re.escape(first)}.*?\n\n", text, re.MULTILINE | re.DOTALL)
    cited = [measured.citations(row) for row in ROWS]
    spans = {
        found.span(2)
        for each in cited
        for where, pattern, _ in each
        if where == page
        for found in pattern.finditer(text)
    }
    begin = text.index(table)
    head, _, *lines = table.strip().splitlines()
    goals = head.split("|").index(next((c for c in head.split("|") if "goal" in c), "")) or None
    at = begin + len(head) + 1 + len(_) + 1
    n_numbers = 0
    for line in lines:
        for k, cell in enumerate(line.split("|")):
            number = re.match(r" ([\d.,]*\d)\b", cell)
            if number and k > 1 and k != goals:
                n_numbers += 1
                assert (at + 1, at + 1 + len(number[1])) in spans, cell
            at += len(cell) + 1
        # The newline stands where a last bar would be counted.
    assert n_numbers >= 6


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A file of two rows and a page that cites them."""
    page = tmp_path / "page.md"
    page.write_text("| rate | 1,200 | 3.4 (JAX) |\nIt takes 5 s, of 17.\n", encoding="utf-8")
    file = tmp_path / "measured.toml"
    file.write_text(
        """
[[row]]
section = "sweep"
case = {m = 4}
of = "rate linnet_fast"
value = 1200
date = "2026-01-01"
machine = "old"
cited = [["page.md", "| rate | {:,} | …"]]

[[row]]
section = "sweep"
case = {m = 4}
of = "best rival"
value = "JAX"
date = "2026-01-01"
machine = "old"
cited = [["page.md", "| rate | … | … ({}) |"]]

[[row]]
command = "linnet-fast info"
value = 5
date = "2026-01-01"
machine = "old"
cited = [["page.md", "It takes {:.0f} s"]]
""",
        encoding="utf-8",
    )
    monkeypatch.setattr(measured, "FILE", file)
    monkeypatch.setattr(measured, "ROOT", tmp_path)
    return page


def test_a_measurement_rewrites_file_and_pages(elsewhere):
    machine = {
        "measured": "2027-02-03T04:05:06+00:00",
        "processor": "new",
        "processors": 2,
        "linnet_fast": {"isa": "v4"},
    }
    row = {
        "case": {"m": 4, "n_runs": 10},
        "rates": {"linnet_fast": [2e6, 3_456_789.0], "numba": [1.0]},
        "best_rival": "numba",
    }
    told = measured.update({"sections": {"sweep": {"rows": [row], "machine": machine}}})
    assert len(told) == 2
    text = elsewhere.read_text(encoding="utf-8")
    assert text == "| rate | 3,460,000 | 3.4 (Numba) |\nIt takes 5 s, of 17.\n"
    rate, rival, command = measured.rows()
    assert (rate["value"], rate["date"], rate["machine"]) == (
        3_460_000,
        "2027-02-03",
        "new, 2 processors, v4",
    )
    assert rival["value"] == "Numba"
    assert (command["value"], command["date"]) == (5, "2026-01-01")
    # What was not measured is kept.
    assert measured.update({"sections": {}}) == []
    assert measured.rows() == [rate, rival, command]


def test_commands_are_timed(elsewhere, monkeypatch):
    monkeypatch.setattr(measured, "_seconds_of", lambda command: 7.4 * len(command.split()))
    assert measured.update_commands() == ["linnet-fast info, seconds: 5 -> 14.8"]
    assert "It takes 15 s, of 17." in elsewhere.read_text(encoding="utf-8")


def test_a_command_is_run_and_takes_time():
    assert 0 < measured._seconds_of("linnet-fast info --json") < 60
