"""Ctrl-C ends the commands at once, also where they are deep within linear algebra."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from linnet_fast._base import patience
from linnet_fast.cli import outputs

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a single process")
# A search with large decompositions, and an experiment: both go on for half a minute.
DEEP = "Convolution(24, taps=(0, 1, 3), channels=8)"
COMMANDS = {  # and after how many seconds they are well within it
    "cost": (["cost", DEEP, "predictors.csv"], 7.0),
    "reproduce": (["reproduce", "woodworth2020", "--out", "pictures"], 4.0),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_ctrl_c_ends_a_command(name, tmp_path):
    beta = np.random.default_rng(0).standard_normal((20, 24))
    np.savetxt(tmp_path / "predictors.csv", beta, delimiter=",")
    arguments, seconds = COMMANDS[name]
    running = subprocess.Popen(
        [sys.executable, "-m", "linnet_fast", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    try:
        time.sleep(seconds)
        assert running.poll() is None
        begin = time.monotonic()
        running.send_signal(signal.SIGINT)
        _, error = running.communicate(timeout=60)
        seconds = time.monotonic() - begin
    finally:
        running.kill()
    assert running.returncode == outputs.INTERRUPTED
    assert error.splitlines()[-1] == "linnet-fast: interrupted"
    assert seconds < 3  # 0.3 where nobody else works; unheeded it is ten and more
    assert not list(tmp_path.glob("pictures/*"))


def test_the_wait_for_linear_algebra_ends_on_a_signal():
    def work(_matrices):
        """As LAPACK does, work for seconds without a look at signals."""
        return hashlib.pbkdf2_hmac("sha256", b"", b"", 6_000_000)

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    begin = time.monotonic()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            patience.awaited(work, np.zeros((200, 200)))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - begin < 1


def test_results_and_errors_come_from_the_other_thread(monkeypatch):
    monkeypatch.setattr(patience, "_LONG", 0)
    assert patience.awaited(np.linalg.solve, np.eye(2), np.ones((2, 1))).tolist() == [[1.0], [1.0]]
    with pytest.raises(np.linalg.LinAlgError):
        patience.awaited(np.linalg.solve, np.zeros((2, 2)), np.ones((2, 1)))
