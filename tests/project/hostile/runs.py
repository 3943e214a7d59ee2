"""Hostile calls in processes of their own: one that dies is a failure, and the rest goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]


def failures(seed, n_calls, pattern=""):
    """Return what was answered wrongly, a dict each, and how many calls were made.

    Parameters
    ----------
    seed : int
        Decides all calls.
    n_calls : int
        How many.
    pattern : str
        Regular expression: in the names of callables, all by default.
    """
    with tempfile.TemporaryDirectory() as folder:
        return _failures(folder, seed, n_calls, pattern)


def _failures(folder, seed, n_calls, pattern):
    found, begin, n_made = [], 0, 0
    while begin < n_calls:
        done = subprocess.run(
            [sys.executable, "-m", "hostile.judge", *map(str, (seed, begin, n_calls)), pattern],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": str(HERE),
                "MPLBACKEND": "agg",
                "PYTHONFAULTHANDLER": "1",
                "OMP_NUM_THREADS": "2",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        found += [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        lines = done.stderr.splitlines()
        last = [json.loads(line) for line in lines if line.startswith('{"number"')]
        if not last:
            raise RuntimeError(done.stderr[-2000:] or "no call was made")
        n_made += len(last)
        if done.returncode == 0:
            break
        ends = [line for line in lines if not line.startswith('{"number"')]
        wrong = f"ends the process ({done.returncode}): {' | '.join(ends[:6])}"
        found.append({**last[-1], "wrong": wrong})
        begin = last[-1]["number"] + 1
    return found, n_made


if __name__ == "__main__":
    for one in failures(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])[0]:
        sys.stdout.write(json.dumps(one) + "\n")
