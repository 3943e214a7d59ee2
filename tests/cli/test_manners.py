"""Manners of the command line: full disks, pictures beside results, a word from what takes long."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from sweep_files import SMALL_SWEEP

import linnet_fast as lf
from linnet_fast._base import patience
from linnet_fast.cli import main, outputs

SHORT = ["train", "iris", "--steps", "10", "--scales", "1", "--seeds", "1"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_a_sentence():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "linnet_fast", "info"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "linnet-fast: cannot write: No space left on device\n"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--out", "mine.npz"], ["mine.npz", "mine.png"]),
        (["--out", "none"], ["linnet_fast_iris.png"]),
    ],
)
def test_pictures_are_beside_results(options, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main.main([*SHORT, *options]) == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == expected


def test_what_takes_long_says_so():
    lines = []
    with patience.telling("search", lines.append, first=0.01):
        time.sleep(0.1)
    n = len(lines)
    assert lines[:2] == ["search: 0.01 s so far", "search: 0.02 s so far"]
    with patience.telling("search", lines.append, first=0.5):
        pass
    time.sleep(0.02)
    assert len(lines) == n


def test_tables_are_json_where_asked_for(tmp_path, capsys):
    assert main.main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == lf.__version__

    predictors = tmp_path / "predictors.csv"
    predictors.write_text("1,2\n3,-4\n")
    assert main.main(["cost", "Diagonal(width=2, n_layers=2)", str(predictors), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["predictors"]
    # Two layers: twice the sum of magnitudes.
    assert [round(row["value"], 9) for row in rows] == [6, 14]
    assert [row["exact"] for row in rows] == [True, True]

    loss = lf.SquaredLoss([[1.0]], [[2.0]], 4.0)
    training = lf.Training(
        lf.Dense((1, 1)), loss, lf.Start("gaussian"), lf.GradientDescent(0.1), n_steps=5
    )
    spec = lf.grid(training, {"method.step_size": [0.1, 1e200]}, derived=("final_loss",))
    store, file = tmp_path / "runs.zarr", tmp_path / "runs.csv"
    data = lf.sweep(spec, store, progress=False)
    assert main.main(["show", str(store), "--json", "--csv", str(file)]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first["final_loss"] == float(data["final_loss"][0])
    assert (first["step_size"], first["status"]) == (0.1, "completed")
    assert (second["status"], second["final_loss"]) == ("diverged", "nan")
    assert len(file.read_text().splitlines()) == 3


PRINTING = {
    "train": SHORT,
    "sweep": ["sweep", "s.toml"],
    "dry run": ["sweep", "s.toml", "--dry-run"],
    "cost": ["cost", "Diagonal(2)", "predictors.csv"],
    "reproduce": ["reproduce", "saxe2014", "--quick", "--only", "depth"],
    "completion": ["completion", "bash"],
    "help": ["--help"],
    "help of a command": ["sweep", "--help"],
    "version": ["--version"],
}


@pytest.mark.skipif(sys.platform == "win32", reason="no shell pipes")
@pytest.mark.parametrize("name", PRINTING)
@pytest.mark.parametrize(
    ("end", "unbuffered"), [("nobody reads", ""), ("full disk", ""), ("full disk", "1")]
)
def test_what_cannot_be_printed_ends_a_command(name, end, unbuffered, tmp_path):
    (tmp_path / "s.toml").write_text(SMALL_SWEEP)
    (tmp_path / "predictors.csv").write_text("1,2\n")
    if end == "full disk" and not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    reader, writer = os.pipe()
    os.close(reader)
    with Path("/dev/full").open("w") if end == "full disk" else os.fdopen(writer, "w") as out:
        done = subprocess.run(
            [sys.executable, "-m", "linnet_fast", *PRINTING[name]],
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert done.returncode == 1
    told = [line for line in done.stderr.splitlines() if line.startswith("linnet-fast")]
    full = ["linnet-fast: cannot write: No space left on device"]
    assert told == (full if end == "full disk" else [])
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def printed(arguments, columns, monkeypatch, capsys):
    if columns is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", str(columns))
    assert main.main(arguments) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("columns", [40, 60])
@pytest.mark.parametrize(
    "name", ["train", "several step sizes", "show", "cost", "reproduce", "dry run"]
)
def test_narrow_terminals_lose_nothing(name, columns, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("p.csv").write_text("1,2,3,4\n3,-4,5.123456789,1\n")
    Path("s.toml").write_text(SMALL_SWEEP)
    grid = "grid={start.scale={linspace=[0.1, 0.2345, 9]}, network.n_layers=[2, 3]}"
    made = ["sweep", "s.toml", "--plot", "none", "--quiet", "--set", grid, "--set"]
    assert main.main([*made, "method.step_size=0.1"]) == 0
    quiet = ["--out", "none", "--plot", "none"]
    arguments = {
        "train": ["train", "digits", "--steps", "300", "--scales", "1", "--seeds", "1", *quiet],
        "several step sizes": ["train", "digits", "--steps", "30", "--scales", "1", "--seeds", "1", "--step-sizes", "0.1,0.01", *quiet],
        "show": ["show", "s.zarr"],
        "cost": ["cost", "Diagonal(width=4, n_layers=2)", "p.csv"],
        "reproduce": ["reproduce", "saxe2014", "--quick", "--only", "depth", "--force"],
        "dry run": ["sweep", "s.toml", "--dry-run", "--out", "none"],
    }[name]  # fmt: skip
    wide, narrow = (printed(arguments, n, monkeypatch, capsys) for n in (None, columns))
    assert max(map(len, wide.splitlines())) > 60
    # Words that are wider stay whole.
    too_wide = [line for line in narrow.splitlines() if len(line) > columns]
    assert all(len(line.split()) == 1 for line in too_wide)
    # All words are there, first columns of tables once more; how long it took is another number.
    timed = r"\d[\d.,]* (?=s\b|runs? per|run-steps)|\(\d\S* s\)|-{2,}|\d\S* s to \d\S* s"
    texts = [re.sub(timed, "", " ".join(text.split())).split() for text in (wide, narrow)]
    assert not Counter(texts[0]) - Counter(texts[1])
    if name in ("train", "show"):
        assert narrow.count("scale") > wide.count("scale")


def test_columns(monkeypatch):
    for told, width in (
        ("40", 40),
        ("3", 20),
        ("0", None),
        ("", None),
        ("many", None),
        ("-5", None),
    ):
        monkeypatch.setenv("COLUMNS", told)
        assert outputs.width() == width
