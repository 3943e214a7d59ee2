"""Manners of the command line: full disks, pictures beside results, a word from what takes long."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from linnet_fast._base import patience
from linnet_fast.cli import main

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
        (["--out", "mine.npz", "--plot", "other.png"], ["mine.npz", "other.png"]),
        ([], ["linnet_fast_iris.npz", "linnet_fast_iris.png"]),
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
