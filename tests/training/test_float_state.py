"""What other libraries leave in the floating-point control word changes no bit."""

from __future__ import annotations

import ctypes
import platform
import sys
import threading
from contextlib import contextmanager

import numpy as np
import pytest

import linnet_fast as lf

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64",
    reason="the control word is set through glibc's fenv_t of x86-64",
)

LIBM = ctypes.CDLL("libm.so.6")
MXCSR = slice(28, 32)  # of fenv_t
UPWARD = 0x800
FLUSH = 0x8040  # results and operands


def control_word():
    state = ctypes.create_string_buffer(32)
    LIBM.fegetenv(state)
    return int.from_bytes(state.raw[MXCSR], "little")


@contextmanager
def flushed_to_zero():
    saved = ctypes.create_string_buffer(32)
    LIBM.fegetenv(saved)
    word = int.from_bytes(saved.raw[MXCSR], "little") | FLUSH
    changed = saved.raw[: MXCSR.start] + word.to_bytes(4, "little")
    LIBM.fesetenv(ctypes.create_string_buffer(changed, 32))
    try:
        yield
    finally:
        LIBM.fesetenv(saved)


@contextmanager
def rounded_upward():
    LIBM.fesetround(UPWARD)
    try:
        yield
    finally:
        LIBM.fesetround(0)


NETWORK = lf.Dense((3, 4, 4, 2))
LOSS = lf.SquaredLoss(np.diag([2.0, 1.0, 0.5]), np.ones((2, 3)) * 1e-160, 1.0)
START = lf.initialization.gaussian(NETWORK, scale=1e-105, rng=0, batch_shape=64)


def trained(method, n_threads=1, **extent):
    record = lf.Record.geomspace(5, observables=("product", "gradient_norm"))
    return lf.train(
        NETWORK, LOSS, START, method=method, record=record, n_threads=n_threads, **extent
    )


@pytest.mark.parametrize(
    ("method", "extent"),
    [(lf.GradientDescent(0.1), {"n_steps": 50}), (lf.GradientFlow(), {"until": 5.0})],
    ids=["descent", "flow"],
)
def test_flushing_to_zero_changes_no_bit(method, extent):
    """Products of these starts are subnormal; without the guard the calling thread loses them."""
    usual = trained(method, **extent)
    smallest = np.abs(usual.product[:, 0])
    assert (smallest < sys.float_info.min).all()
    assert smallest.max() > 0
    with flushed_to_zero():
        word = control_word()
        found = trained(method, **extent)
        assert control_word() & FLUSH == word & FLUSH == FLUSH
    assert np.array_equal(found.product, usual.product)
    assert np.array_equal(found.gradient_norm, usual.gradient_norm)
    for a, b in zip(found.final.weights, usual.final.weights, strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("call", ["train", "gaussian"])
def test_another_rounding_mode_is_refused_by_name(call):
    def run():
        if call == "train":
            trained(lf.GradientDescent(0.1), n_steps=5)
        else:
            lf.initialization.gaussian(NETWORK, rng=0)

    caught = []

    def within():
        with rounded_upward():
            try:
                run()
            except RuntimeError as error:
                caught.append(str(error))

    thread = threading.Thread(target=within)
    thread.start()
    thread.join()
    assert len(caught) == 1
    assert caught[0].startswith("this thread must round to nearest")
    run()
