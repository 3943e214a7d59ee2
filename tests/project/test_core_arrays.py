"""Arrays that the core is handed directly: refused, or copied and then right; never misread.

Calls are caught on their way from the library, and made again with each array in another form.
"""

from __future__ import annotations

import numpy as np
import pytest

import linnet_fast as lf
from linnet_fast import _core, laws

NETWORK = lf.Dense((3, 2, 1))
CONVOLUTION = lf.Convolution(4, 2, 2)
LAW = laws.Gaussian(3)


def training(**options):
    rng = np.random.default_rng(0)
    loss = lf.SquaredLoss.from_data(rng.standard_normal((9, 4)), rng.standard_normal((9, 1)))
    start = lf.initialization.gaussian(CONVOLUTION, scale=0.3, rng=0, batch_shape=(2,))
    return lf.train(CONVOLUTION, loss, start, **options)


def spherical():
    loss = lf.SphericalLogisticLoss([1.0, 0.0, 0.0], LAW)
    start = lf.initialization.gaussian(NETWORK, scale=0.3, rng=0, batch_shape=(2,))
    return lf.train(
        NETWORK,
        loss,
        start,
        method=lf.GradientDescent(lf.StepRule.power(0.1, 0.2)),
        n_steps=5,
        record=lf.Record.every(1),
    )


ONE = np.array([0.5, 1.0])
REDUCED = {"table": LAW.table, "n_layers": 2, "s": -ONE, "norm": ONE, "label_noise": 0 * ONE}
CALLS = {
    "kernel_cost": {
        "spectra": np.array([[1.0, 2.0, 3.0]]), "extent": 4, "taps": [2], "dilations": [1],
        "multiplicities": [1.0], "n_threads": 1,
    },
    "logit_descent": {"logit": ONE, "rate": 0.1 * ONE, "steps": [0, 3, 5]},
    "factor_descent": {
        "first": ONE, "second": ONE, "step_size": 0.1 * ONE, "sigma": ONE, "lam": ONE,
        "steps": [0, 3],
    },
    "balanced_descent": {
        "drive": 0.1 * ONE, "brake": 0.05 * ONE, "rest": 2 * ONE, "gap": 0.5 * ONE, "n_layers": 3,
        "steps": [0, 3],
    },
    "momentum_descent": {
        "drive": 0.1 * ONE, "brake": 0.05 * ONE, "rest": 2 * ONE, "gap": 0.5 * ONE,
        "momentum": 0.5 * ONE, "nesterov": True, "n_layers": 3, "steps": [0, 3],
    },
    "radial_functions": {"table": LAW.table, "r": ONE},
    "reduced_flow": {**REDUCED, "rtol": 1e-9, "times": [0.0, 1.0], "n_threads": 1},
    "reduced_flow_turn": {**REDUCED, "rtol": 1e-9, "n_threads": 1},
    "reduced_descent": {
        **REDUCED, "kind": 1, "scale": 0.1 * ONE, "parameters": np.zeros((len(ONE), 5)), "steps": [0, 3],
        "n_threads": 1,
    },
    "train": spherical,
    "train entries": lambda: training(method=lf.GradientDescent(0.01), n_steps=3),
    "train_flow": lambda: training(method=lf.GradientFlow(), until=0.1),
}  # fmt: skip


def caught(monkeypatch, name):
    """Return the function of the core and the arguments of a call."""
    function, call, seen = getattr(_core, name.split()[0]), CALLS[name], {}
    if isinstance(call, dict):
        return function, call

    def record(**arguments):
        seen.update(arguments)
        return function(**arguments)

    with monkeypatch.context() as patch:
        patch.setattr(_core, name.split()[0], record)
        call()
    return function, seen


def places(value, path=()):
    """Yield where there are arrays in arguments."""
    if isinstance(value, np.ndarray):
        yield path
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, (list, tuple)):
        for key, inner in enumerate(value):
            yield from places(inner, (*path, key))


def changed(value, path, form):
    if not path:
        return form(value)
    first, *rest = path
    if isinstance(value, dict):
        return value | {first: changed(value[first], rest, form)}
    return type(value)(changed(x, rest, form) if k == first else x for k, x in enumerate(value))


def at_an_odd_offset(x):
    data = np.zeros(x.nbytes + 1, np.uint8)
    view = data[1:].view(x.dtype).reshape(x.shape) if x.nbytes else x
    view[...] = x
    return view


def with_an_odd_stride(x):
    data = np.zeros((*x.shape, x.itemsize + 1), np.uint8)
    view = np.ndarray(x.shape, x.dtype, data, 0, data.strides[:-1])
    view[...] = x
    return view


def apart(x):
    view = np.zeros((*x.shape, 2), x.dtype)[..., 0]
    view[...] = x
    return view


RIGHT = [
    at_an_odd_offset,
    with_an_odd_stride,
    apart,
    np.asfortranarray,
    lambda x: x.astype(x.dtype.newbyteorder()),
    lambda x: x.view(np.matrix) if x.ndim == 2 else x,
]
WRONG = [
    lambda x: x.astype(complex),
    lambda x: x.astype(object),
    lambda x: x.astype(str),
    lambda x: x[..., None].repeat(2, axis=-1),
    lambda x: x[..., :0] if x.ndim else x[None][:0],
    lambda x: np.broadcast_to(x.ravel()[:1].reshape((1,) * (x.ndim + 1)), (2**40, *x.shape)),
]


def assert_same(one, two):
    if isinstance(one, dict):
        for key in one:
            assert_same(one[key], two[key])
    elif isinstance(one, tuple):
        for a, b in zip(one, two, strict=True):
            assert_same(a, b)
    else:
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_arrays_in_another_form_are_refused_or_right(name, monkeypatch):
    function, seen = caught(monkeypatch, name)
    expected = function(**seen)
    found = list(places(seen))
    assert found
    for path in found:
        for form in RIGHT:
            try:
                result = function(**changed(seen, path, form))
            except (TypeError, ValueError, RuntimeError):  # RuntimeError: pybind11 cannot cast it
                continue
            assert_same(result, expected)


@pytest.mark.parametrize("name", CALLS)
def test_arrays_that_are_something_else_are_refused(name, monkeypatch):
    function, seen = caught(monkeypatch, name)
    for path in places(seen):
        if (name, path) == ("radial_functions", ("r",)):
            continue  # takes norms of any shape
        for form in WRONG:
            with pytest.raises((TypeError, ValueError, RuntimeError, MemoryError)):
                function(**changed(seen, path, form))


@pytest.mark.parametrize("name", ["train", "train entries", "train_flow"])
def test_arrays_that_are_read_in_place_must_be_aligned(name, monkeypatch):
    function, seen = caught(monkeypatch, name)
    for path in places(seen):
        if path[0] not in {"factors", "ended"}:
            with pytest.raises(ValueError, match="is not aligned"):
                function(**changed(seen, path, at_an_odd_offset))


@pytest.mark.parametrize("n_threads", [0, -1, 2**15 + 1, 2**31 - 1])
def test_numbers_of_threads_that_no_machine_has(n_threads):
    with pytest.raises(ValueError, match="n_threads must be at"):
        _core.fma_peak(n_threads, 0.0, "float64")
    with pytest.raises(ValueError, match="n_threads must be at"):
        _core.kernel_cost(spectra=np.ones((1, 3)), extent=4, taps=[2], dilations=[1],
                          multiplicities=[1.0], n_threads=n_threads)  # fmt: skip


@pytest.mark.parametrize("seconds", [-1.0, np.nan, np.inf, 61.0])
def test_peaks_are_measured_for_a_while_only(seconds):
    with pytest.raises(ValueError, match="seconds must be"):
        _core.fma_peak(1, seconds, "float64")


def test_kernels_too_large_to_tabulate():
    with pytest.raises(ValueError, match="taps times frequencies"):
        _core.kernel_cost(spectra=np.ones((1, 2**19)), extent=2**20, taps=[2**20], dilations=[1],
                          multiplicities=[1.0], n_threads=1)  # fmt: skip
