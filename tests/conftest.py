"""Fixtures and settings of all tests."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import signal
import sys
from pathlib import Path

# Workers share the processors: threads of the BLAS would wait for each other, and turn idly in a
# process by itself. Plugins of pytest may have loaded NumPy's before this is read: zarr's does.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# What commands print would be folded to this width.
os.environ.pop("COLUMNS", None)

import numpy as np
import pytest
from hypothesis import is_hypothesis_test, settings

_SETTINGS = "_hypothesis_internal_use_settings"  # where `settings` puts itself
HERE = Path(__file__).parent
# For `support` and others that several test files share.
sys.path += [
    str(HERE),
    *(
        str(HERE / name)
        for name in (
            "costs",
            "directional_convergence",
            "plot",
            "project",
            "rank_dynamics",
            "sweeps",
            "teachers",
            "training",
        )
    ),
]

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.register_profile("thorough", deadline=None, print_blob=True)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "default")
settings.load_profile(PROFILE)


SHARE = {"thorough": 10.0}.get(PROFILE, 0.4)
"""Of the examples that a property test names, how many are tried."""


def pytest_collection_modifyitems(items):
    """Let every property be tried on more examples when there is time, and on fewer when there is none."""
    tests = {item.function for item in items if hasattr(item, "function")}
    for test in tests:
        if is_hypothesis_test(test):
            own = getattr(test, _SETTINGS, settings.default)
            setattr(
                test, _SETTINGS, settings(own, max_examples=max(5, int(SHARE * own.max_examples)))
            )


def pytest_configure():
    """Hold a BLAS that is there already to one thread, and let Ctrl-C through.

    A shell starts background jobs with Ctrl-C ignored, and children inherit that.
    """
    with contextlib.suppress(ImportError):  # some sessions of nox do without
        importlib.import_module("threadpoolctl").threadpool_limits(
            int(os.environ["OPENBLAS_NUM_THREADS"]), user_api="blas"
        )
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header():
    """Show what the tests run on."""
    from linnet_fast._base.config import config

    return [f"linnet_fast {name}: {value}" for name, value in config().items()]


@pytest.fixture(autouse=True)
def subnormals_survive():
    """No test may leave the processor flushing subnormal numbers to zero."""
    yield
    assert (np.array([1e-310]) * 1.0)[0] == 1e-310


@pytest.fixture(autouse=True)
def no_pictures_are_left_open():
    """Tests share a process in any order: none sees the pictures of another."""
    yield
    if (pyplot := sys.modules.get("matplotlib.pyplot")) is not None:
        pyplot.close("all")


@pytest.fixture(scope="session")
def clean(tmp_path_factory):
    """Return a whole store of a design in chunks of so many runs; not to be changed."""
    from sweep_problems import assert_equal, expected, spec_of, sweep

    path = tmp_path_factory.mktemp("clean")

    def of(design, chunk_runs):
        store = path / f"{design}-{chunk_runs}.zarr"
        if not store.exists():
            assert_equal(sweep(spec_of(design), store, chunk_runs=chunk_runs), expected(design))
        return store

    return of


@pytest.fixture
def copy(clean, tmp_path):
    """Return a copy of a whole store."""

    def of(design, chunk_runs):
        store = tmp_path / "s.zarr"
        shutil.rmtree(store, ignore_errors=True)
        shutil.copytree(clean(design, chunk_runs), store)
        return store

    return of
