from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import linnet_fast as lf

ROOT = Path(__file__).parents[2]
RACED = {
    "batched": {"linnet_fast", "numpy"},
    "single": {"linnet_fast", "numpy"},
    "depth": {"linnet_fast", "numpy"},
    "float32": {"float32", "float64"},
    "peak": {"our flop/s", "peak flop/s"},
    "records": {"none", "records"},
    "observed": {"none", "records"},
    "sharpness": {"linnet_fast"},
    "methods": {"plain", "momentum"},
    "optimisers": {"linnet_fast", "numpy"},
    "threads": {"1 thread", "all threads"},
    "flow": {"linnet_fast", "scipy"},
    "chain": {"linnet_fast", "reference"},
    "binary": {"linnet_fast", "reference"},
    "samples": {"linnet_fast", "numpy"},
    "minibatch": {"linnet_fast", "numpy"},
    "softmax": {"linnet_fast", "numpy"},
    "completion": {"linnet_fast", "numpy"},
    "reduced": {"linnet_fast", "numpy"},
    "nominal": {"sweep"},
    "completion_chain": {"entries", "white inputs"},
    "sweep": {"linnet_fast", "numpy", "joblib"},
    "sweep_layer": {"train", "sweep"},
    "sweep_million": {"sweep"},
    "sweep_workers": {"threads", "workers"},
    "sweep_teachers": {"linnet_fast", "numpy"},
    "cost": {"linnet_fast", "scipy", "cvxpy"},
    "cost_depth": {"L = 2", "L = 4"},
}
SECTIONS = tuple(RACED)
ON_SAMPLES = ("samples", "minibatch", "softmax")
RIVALS_FOR_TESTS = ("numpy", "joblib", "reference", "scipy", "cvxpy")  # all that `test` installs


def run_bench(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--rounds=1", f"--output={folder}", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """A smoke run of all sections in one process, beside the rivals that are quick to start."""
    folder = tmp_path_factory.mktemp("bench")
    done = run_bench(folder, "--rivals", *RIVALS_FOR_TESTS)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (folder / "bench.md").read_text(encoding="utf-8")
    return json.loads((folder / "bench.json").read_text(encoding="utf-8"))


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"bench.{name}")


def test_bench_smoke_run_has_all_sections(smoke):
    assert tuple(smoke["sections"]) == SECTIONS


@pytest.mark.parametrize("section", SECTIONS)
def test_bench_section_has_rates_of_us_and_of_its_rivals(section, smoke):
    rows = smoke["sections"][section]["rows"]
    assert all(rate > 0 for row in rows for rates in row["rates"].values() for rate in rates)
    for row in rows:
        if set(row["rates"]) == {"linnet_fast"}:  # its rival is not among those that ran
            assert row["value"] is row["median"] is row["best_rival"] is None
        else:
            assert np.isfinite([row["value"], row["median"]]).all()
    raced = {name for row in rows for name in row["rates"]}
    missing = {name for row in rows for name in row["missing"]}
    assert raced | missing >= RACED[section]


@pytest.mark.slow
def test_bench_installed_rivals_agree_with_us_and_the_others_are_listed(tmp_path):
    # The benchmark itself compares what rivals compute and fails where they differ.
    with_rivals = (
        "single", "depth", "optimisers", "flow", "chain", "binary", *ON_SAMPLES, "completion", "reduced",
        "sharpness", "sweep",
    )  # fmt: skip
    rivals = ("jax", "torch", "numba", "diffrax")
    done = run_bench(tmp_path, "--only", *with_rivals, "--rivals", *rivals)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    for section, expected in {
        "single": {"jax", "torch", "numba"},
        "depth": {"jax", "torch", "numba"},
        "optimisers": {"jax", "torch", "numba"},
        "flow": {"diffrax"},
        "chain": {"jax"},
        "binary": {"jax", "torch"},
        **{section: {"jax", "torch", "numba"} for section in ON_SAMPLES},
        "completion": {"jax", "torch", "numba"},
        "reduced": {"jax", "torch", "numba"},
        "sharpness": {"jax", "torch"},
        "sweep": {"jax", "numba"},
    }.items():
        rows = results["sections"][section]["rows"]
        raced = {name for row in rows for name in row["rates"]} - {"linnet_fast"}
        missing = {name for row in rows for name in row["missing"]}
        assert not raced & missing
        assert raced | missing == expected


def test_bench_rivals_that_are_not_installed_are_listed_as_missing(bench, monkeypatch):
    report = bench("report")
    monkeypatch.setattr(bench("rivals.base").Competitor, "available", classmethod(lambda _: False))
    settings = bench("timing").Settings(
        n_threads=1, rounds=1, seconds=0.001, rivals=["jax", "numba"]
    )
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
    settings = timing.Settings(n_threads=1, rounds=1, seconds=0.001, rivals=["numpy"])
    expected = tuple(1.001 * layer for layer in bench("ours").training(problem)(22))
    with pytest.raises(AssertionError, match="numpy, matmul"):
        timing.enter("numpy", bench("rivals.numpy").Numpy().prepare(problem), expected, 3, settings)


def test_bench_disturbed_rounds_are_repeated(bench, monkeypatch):
    timing = bench("timing")
    used = iter([0.0, 0.0, 0.0, 1e6, 1e6, 1e6, 1e6, 1e6])  # before and after each round
    monkeypatch.setattr(timing, "_busy_elsewhere", lambda: next(used))
    settings = timing.Settings(n_threads=1, rounds=3, seconds=0.001, rivals=[])
    result = timing.race({"one": lambda: 1.0, "two": lambda: 2.0}, settings)
    assert result.rates == {"one": [1.0] * 4, "two": [2.0] * 4}
    assert result.others == 0


def test_bench_goals_are_those_of_known_sections(bench):
    goals = tomllib.loads((ROOT / "bench" / "goals.toml").read_text(encoding="utf-8"))
    assert set(goals) == {"timing", "against", "quick", *SECTIONS}
    assert (
        set(bench("sections.registry").MEASURES) == set(bench("report").HEADINGS) == set(SECTIONS)
    )


def test_bench_rivals_of_all_sections_have_a_name(bench):
    named = {rival for rivals in RACED.values() for rival in rivals} & set(RIVALS_FOR_TESTS)
    goals = tomllib.loads((ROOT / "bench" / "goals.toml").read_text(encoding="utf-8"))
    named |= {row["rival"] for section in SECTIONS for row in goals[section] if "rival" in row}
    named |= set(bench("rivals").RIVALS) | set(bench("rivals.sweeps").SWEEP_RIVALS)
    assert set(bench("rivals").NAMES) == named


def test_bench_two_builds_are_compared_by_their_best_rates_in_turn(bench, monkeypatch, capsys):
    speeds = {"this": iter([1.0, 3.0]), "other": iter([3.15, 2.0])}
    order = []

    def measured(goals, settings, *, library, **_):
        assert settings.rivals == ()
        build = "this" if library is None else "other"
        order.append(build)
        machine = {"linnet_fast": {"path": build, "isa": "v3", "compiler": "gcc"}}
        rate = next(speeds[build])
        row = {"case": {"m": 4, "batch": 8}, "rates": {"linnet_fast": [0.5, rate]}, "others": 0.25}
        return {section: {"machine": machine, "rows": [row]} for section in goals}

    monkeypatch.setattr(bench("against"), "measured", measured)
    options = ["--against", sys.executable, "--only", "batched", "--rounds", "2"]
    assert bench("__main__").main(options) == 1
    assert order == ["other", "this", "this", "other"]
    out = capsys.readouterr().out
    assert "| batched | m 4, batch 8 | linnet_fast | 3 | 3.15 | 1.050 |" in out
    assert "busy: 0.25" in out
    speeds.update(this=iter([1.0, 3.0]), other=iter([3.15, 2.0]))
    assert bench("__main__").main([*options, "--tolerance", "6"]) == 0


def test_bench_a_build_is_not_compared_with_itself(tmp_path):
    done = run_bench(tmp_path, "--against", str(Path(lf.__file__).parents[1]), "--only", "flow")
    assert done.returncode == 2, done.stderr
    assert "flow: m 4, batch 8: linnet_fast" in done.stderr
    assert "expected another linnet_fast, but both are" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rounds", "0"], "at least 1, got 0"),
        (["--seconds", "nan"], "positive number, got nan"),
        (["--only", "nonesuch"], "invalid choice: 'nonesuch'"),
        (["--rivals", "nonesuch"], "invalid choice: 'nonesuch'"),
        (["--against", "nonesuch"], "a folder that holds linnet_fast, or a Python, got nonesuch"),
        (["--tolerance", "-1"], "positive number, got -1"),
    ],
)
def test_bench_bad_option_is_refused(options, message, bench, capsys):
    with pytest.raises(SystemExit, match="2"):
        bench("__main__").main(options)
    assert message in capsys.readouterr().err
