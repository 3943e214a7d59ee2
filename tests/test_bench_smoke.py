from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
SECTIONS = (
    "batched",
    "single",
    "depth",
    "float32",
    "peak",
    "records",
    "threads",
    "flow",
    "chain",
    "binary",
    "sweep",
    "sweep_layer",
    "sweep_million",
    "sweep_workers",
    "cost",
    "cost_depth",
)


def run_bench(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--output", str(folder), *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"bench.{name}")


@pytest.mark.parametrize("section", SECTIONS)
def test_bench_section_prints_and_writes_its_table(section, tmp_path):
    done = run_bench(tmp_path, "--only", section, "--rivals", "numpy", "--rounds", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (tmp_path / "bench.md").read_text(encoding="utf-8")
    results = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    assert list(results["sections"]) == [section]
    (row,) = results["sections"][section]["rows"]
    assert np.isfinite([row["value"], row["median"], row["goal"]]).all()
    assert all(rate > 0 for rates in row["rates"].values() for rate in rates)


@pytest.mark.slow
def test_bench_installed_rivals_agree_with_us_and_the_others_are_listed(tmp_path):
    # The benchmark itself compares weights and fails where they differ.
    done = run_bench(tmp_path, "--only", "batched", "single", "depth")
    assert done.returncode == 0, done.stderr
    for rival in ("jax", "torch", "numpy", "numba"):
        assert rival in done.stdout


def test_bench_rivals_that_are_not_installed_are_listed_as_missing(bench, monkeypatch):
    sections, report = bench("sections.base"), bench("report")
    monkeypatch.setattr(bench("rivals.base").Competitor, "available", classmethod(lambda _: False))
    settings = sections.Settings(n_threads=1, rounds=1, seconds=0.001, rivals=["jax", "numba"])
    (row,) = bench("sections.registry").MEASURES["single"]({"m": 2, "goal": 2}, settings)
    assert row.missing == ["jax", "numba"]
    assert row.value is None
    results = {
        "quick": True,
        "settings": {"n_threads": 1, "rounds": 1, "seconds": 0.001},
        "sections": {"single": bench("worker").as_result([row])},
    }
    assert report.markdown(results).count("| missing | missing | - | - |") == 1


def test_bench_a_rival_that_disagrees_is_an_error(bench):
    timing, problem = bench("timing"), bench("problem").make_problem(2, 3, n_threads=1)
    expected = tuple(1.001 * layer for layer in bench("ours").training(problem)(22))
    with pytest.raises(AssertionError, match="numpy, matmul"):
        timing.enter("numpy", bench("rivals.numpy").Numpy().prepare(problem), expected, 3, 0.001)


def test_bench_disturbed_rounds_are_repeated(bench, monkeypatch):
    timing = bench("timing")
    used = iter([0.0, 0.0, 0.0, 1e6, 1e6, 1e6, 1e6, 1e6])  # before and after each round
    monkeypatch.setattr(timing, "_busy_elsewhere", lambda: next(used))
    result = timing.race({"one": lambda: 1.0, "two": lambda: 2.0}, 3)
    assert result.rates == {"one": [1.0] * 4, "two": [2.0] * 4}
    assert result.others == 0


def test_bench_goals_are_those_of_known_sections(bench):
    goals = tomllib.loads((ROOT / "bench" / "goals.toml").read_text(encoding="utf-8"))
    assert set(goals) == {"timing", "quick", *SECTIONS}
    assert (
        set(bench("sections.registry").MEASURES) == set(bench("report").HEADINGS) == set(SECTIONS)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rounds", "0"], "at least 1, got 0"),
        (["--seconds", "nan"], "positive number, got nan"),
        (["--only", "nonesuch"], "invalid choice: 'nonesuch'"),
        (["--rivals", "nonesuch"], "invalid choice: 'nonesuch'"),
    ],
)
def test_bench_bad_option_is_refused(options, message, tmp_path):
    done = run_bench(tmp_path, *options)
    assert done.returncode == 2
    assert message in done.stderr
