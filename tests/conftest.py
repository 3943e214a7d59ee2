"""Fixtures and settings of all tests."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

import linnet_fast as lf

sys.path.append(str(Path(__file__).parent))  # for `support`

settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_configure():
    """Let Ctrl-C through: a shell starts background jobs with it ignored, and children inherit."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish():
    """Give names that a function shares with its module back to the function.

    To find docstrings pytest imports modules and makes them attributes of their packages, which in
    an editable installation are the packages under test.
    """
    for name in ("train", "representation_cost", "sweep"):
        module = importlib.import_module(f"linnet_fast.{name}")
        setattr(lf, name, getattr(module, name))


def pytest_report_header():
    """Show what the tests run on."""
    from linnet_fast.config import config

    return [f"linnet_fast {name}: {value}" for name, value in config().items()]


@pytest.fixture(autouse=True)
def subnormals_survive():
    """No test may leave the processor flushing subnormal numbers to zero."""
    yield
    assert (np.array([1e-310]) * 1.0)[0] == 1e-310
