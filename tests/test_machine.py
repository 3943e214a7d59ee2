"""What a process may use is what its control groups allow, each of them; and it may have no console."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import linnet_fast as lf
from linnet_fast._base import machine, memory

V1 = "7:pids:/\n4:memory:/a/b\n1:cpu,cpuacct:/a/b\n0::/\n"
V2 = "0::/a/b\n"

# Files, and the quota and the limit of memory that they mean.
TREES = {
    "none": ("", {}, None, None),
    "root": (V2, {"cpu.max": "150000 100000", "memory.max": "9000"}, 1.5, 9000),
    "own": (V2, {"a/b/cpu.max": "50000 100000", "a/b/memory.max": "9000"}, 0.5, 9000),
    "between": (V2, {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000",
                     "a/memory.max": "9000", "a/b/memory.max": "max"}, 3.0, 9000),
    "the least": (V2, {"cpu.max": "400000 100000", "a/cpu.max": "200000 100000",
                       "a/b/cpu.max": "300000 100000", "memory.max": "7000",
                       "a/memory.max": "9000"}, 2.0, 7000),
    "a neighbour": (V2, {"a/c/cpu.max": "50000 100000", "c/memory.max": "9000"}, None, None),
    "own of version 1": (V1, {"cpu/a/b/cpu.cfs_quota_us": "250000",
                              "cpu/a/b/cpu.cfs_period_us": "100000",
                              "cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000",
                              "memory/a/memory.limit_in_bytes": "9000"}, 2.5, 9000),
    "root of version 1": (V1, {"cpu/cpu.cfs_quota_us": "250000", "cpu/cpu.cfs_period_us": "100000",
                               "memory/memory.limit_in_bytes": "9000"}, 2.5, 9000),
    "leads out": ("0::/../x\n", {"x/memory.max": "9000", "../x/cpu.max": "1 1"}, None, 9000),
    "damaged": ("0\n\n::\nx:y\n" + V2, {"cpu.max": "many", "a/b/memory.max": ""}, None, None),
}  # fmt: skip


@pytest.mark.parametrize("name", TREES)
def test_limits_of_nested_control_groups(name, tmp_path, monkeypatch):
    own, files, quota, bytes_left = TREES[name]
    (tmp_path / "self").write_text(own)
    for path, text in files.items():
        file = tmp_path / "tree" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
    monkeypatch.setattr(memory, "_OWN_CGROUPS", tmp_path / "self")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path / "tree")
    assert machine._cpu_quota() == quota
    without = machine.available_memory() if bytes_left is None else None
    assert bytes_left is None or machine.available_memory() == bytes_left
    assert without is None or without > 10**6
    if quota is not None:
        assert machine.n_threads() <= max(1, -int(-quota // 1))


def test_progress_without_a_console_is_silent(monkeypatch):
    """As under pythonw, or in a service."""
    monkeypatch.setattr(sys, "stderr", None)
    loss = lf.SquaredLoss(np.eye(2), np.eye(2), 2.0)
    run = lf.train(
        lf.Dense((2, 2)), loss, [np.zeros((2, 2))], method=lf.GradientDescent(0.1), n_steps=3,
        progress=True,
    )  # fmt: skip
    assert run.ok.all()
    training = lf.Training(
        lf.Dense((2, 2)), loss, lf.Start("gaussian", scale=0.1), method=lf.GradientDescent(0.1),
        n_steps=3,
    )  # fmt: skip
    pytest.importorskip("xarray")  # which the sanitizers' environment does without
    assert (
        lf.sweep(lf.grid(training, {"start.scale": [0.1, 0.2]}), progress=True)["status"].size == 2
    )
