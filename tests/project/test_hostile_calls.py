"""Everything public, called with hostile arguments: it works, or it refuses by the argument's name."""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import pytest
from hostile import callables, judge, runs

N_CALLS = int(os.environ.get("LINNET_FAST_HOSTILE_CALLS", "1000"))
SEED = int(os.environ.get("LINNET_FAST_HOSTILE_SEED", "0"))

needs_alarm = pytest.mark.skipif(sys.platform == "win32", reason="calls are stopped by SIGALRM")
EVERY = callables.public()


@needs_alarm
@pytest.mark.timeout(max(300, N_CALLS))
def test_hostile_calls_work_or_are_refused_by_name():
    found, n_made = runs.failures(SEED, N_CALLS)
    assert n_made > 0.9 * N_CALLS
    listed = "\n".join(f"{one['callable']}({one['done']}): {one['wrong']}" for one in found)
    assert not found, f"{len(found)} of {N_CALLS} calls of seed {SEED}:\n{listed}"


@pytest.mark.parametrize("one", EVERY, ids=lambda one: one.name.removeprefix("linnet_fast."))
def test_everything_public_has_a_right_call(one):
    if not one.is_lacking:
        assert set(one.baseline) <= set(one.parameters)


def test_calls_are_those_of_the_seed():
    one = EVERY[0]
    first, again, other = (judge.case(np.random.default_rng([0, k]), one)[0] for k in (3, 3, 4))
    assert first == again != other


@needs_alarm
@pytest.mark.parametrize(
    ("function", "wrong"),
    [
        (lambda x: x.shape, "AttributeError"),
        (lambda x: x[5], "IndexError"),
        (lambda x: np.log(np.zeros(len(x))), "RuntimeWarning"),
        (lambda x: x * 10**18, "MemoryError"),
        (lambda x: np.reshape(x, (2, 2)), "ValueError"),
    ],
)
def test_errors_that_name_no_argument_are_found(function, wrong):
    found, got = judge.judged(callables.Callable("f", function), {"x": [1.0]})
    assert wrong in found
    assert got is None


@needs_alarm
def test_errors_that_name_the_argument_are_right():
    def refusing(x):
        msg = f"x[0] must be > 0, got {x}"
        raise ValueError(msg)

    assert judge.judged(callables.Callable("f", refusing), {"x": 0})[0] is None


@needs_alarm
def test_calls_that_take_too_long_are_found(monkeypatch):
    monkeypatch.setattr(judge, "LIMIT", 0.1)

    def endless(x):
        while x:
            pass

    assert "takes more than" in judge.judged(callables.Callable("f", endless), {"x": 1})[0]


@needs_alarm
def test_a_process_that_ends_is_found_and_the_rest_goes_on(monkeypatch):
    says = [
        ('{"number": 3, "callable": "f", "done": "x: None"}\nFatal Python error', -11, ""),
        (
            '{"number": 5, "callable": "g", "done": ""}',
            0,
            json.dumps({"number": 5, "callable": "g", "done": "", "wrong": "y"}),
        ),
    ]
    begins = []

    def run(command, **_options):
        begins.append(int(command[4]))
        err, code, out = says.pop(0)
        return type("Done", (), {"returncode": code, "stdout": out, "stderr": err})

    monkeypatch.setattr(runs.subprocess, "run", run)
    found, n_made = runs.failures(0, 10)
    assert (begins, n_made) == ([0, 4], 2)
    assert [one["callable"] for one in found] == ["f", "g"]
    assert "Fatal Python error" in found[0]["wrong"]


def test_results_are_compared_bit_for_bit():
    assert judge.equal((np.array([1.0, np.nan]), "a"), (np.array([1.0, np.nan]), "a"))
    assert not judge.equal(np.array([1.0]), np.array([1.0 + 2**-52]))
    assert not judge.equal(np.array([1.0]), np.array([1.0], np.float32))
    assert not judge.equal({"a": 1}, {"a": 2})
