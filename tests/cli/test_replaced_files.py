"""Files that are there are replaced only where that is said."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from sweep_files import SMALL_SWEEP

from linnet_fast.cli import main

THERE = b"mine"
TRAIN = ["train", "iris", "--steps", "10", "--scales", "1", "--seeds", "1", "--quiet"]
COST = ["cost", "Diagonal(width=2, n_layers=2)", "predictors.csv"]
REPRODUCE = ["reproduce", "saxe2014", "--quick", "--only", "depth"]
CASES = {
    "result": ([*TRAIN, "--out", "a.npz"], "a.npz"),
    "result by default": (TRAIN, "linnet_fast_iris.npz"),
    "picture of a result": ([*TRAIN, "--out", "a.npz"], "a.png"),
    "picture": ([*TRAIN, "--plot", "p.svg"], "p.svg"),
    "picture of a new sweep": (["sweep", "s.toml"], "s.png"),
    "picture of no store": (["sweep", "s.toml", "--out", "none"], "s.png"),
    "picture of that name": (["sweep", "s.toml", "--plot", "p.png"], "p.png"),
    "shown picture": (["show", "there.zarr", "--plot", "p.png"], "p.png"),
    "list": (["show", "there.zarr", "--csv", "runs.csv"], "runs.csv"),
    "page": (["show", "there.zarr", "--html", "runs.html"], "runs.html"),
    "costs": ([*COST, "--out", "c.npz"], "c.npz"),
    "report": ([*REPRODUCE, "--out", "."], "report.md"),
    "experiment": ([*REPRODUCE, "--out", "."], "depth.npz"),
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Run in a folder with a sweep, its store and predictors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "s.toml").write_text(SMALL_SWEEP)
    (tmp_path / "predictors.csv").write_text("1,2\n")
    there = ["sweep", "s.toml", "--out", "there.zarr", "--plot", "none", "--quiet"]
    assert main.main(there) == 0
    return tmp_path


@pytest.mark.parametrize("case", CASES)
def test_what_is_there_is_kept(case, capsys, folder):
    arguments, name = CASES[case]
    file = folder / name
    file.write_bytes(THERE)
    before = set(folder.iterdir())
    capsys.readouterr()
    assert main.main(arguments) == 1
    done = capsys.readouterr()
    assert done.out == ""  # no work was done
    assert done.err.endswith(f"{name} is there already: --force replaces it\n")
    assert file.read_bytes() == THERE
    assert set(folder.iterdir()) == before

    assert main.main([*arguments, "--force"]) == 0
    assert file.read_bytes() != THERE


def test_a_link_to_nothing_is_kept(folder):
    (folder / "a.npz").symlink_to("nothing.npz")
    assert main.main([*TRAIN, "--out", "a.npz"]) == 1
    assert (folder / "a.npz").is_symlink()


def test_a_sweep_that_goes_on_draws_its_picture_anew(capsys, folder):
    command = ["sweep", "s.toml", "--quiet"]
    assert main.main(command) == 0
    picture = folder / "s.png"
    expected = picture.read_bytes()
    picture.write_bytes(THERE)
    assert main.main(command) == 0
    assert picture.read_bytes() == expected
    # Of another name it is not known whose it is.
    (folder / "p.png").write_bytes(THERE)
    assert main.main([*command, "--plot", "p.png"]) == 1
    assert (folder / "p.png").read_bytes() == THERE
    assert capsys.readouterr().err.endswith("p.png is there already: --force replaces it\n")


def test_stores_are_never_replaced(capsys, folder):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    other = ["sweep", "s.toml", "--set", "n_steps=30", "--out", "there.zarr", "--force"]
    assert main.main([*other, "--plot", "none"]) == 1
    assert "another sweep" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert not np.any([Path(name).exists() for name in ("there.png", "s.png")])
