"""Trainings on losses that users write: what built-in ones give, errors, interrupts, threads, memory."""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

import custom_functions as own
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from support import CHAINS, assert_same, crossed, few, make_start, parts, python

import linnet_fast as lf
from linnet_fast import reference

HAS_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
DESCENT = lf.GradientDescent(0.05)
RECORD = lf.Record.every(10, ("loss", "gradient_norm", "product"))

BUILT_IN = {
    "squared": (
        (3, 4, 2),
        own.squared,
        lf.SquaredLoss.from_data(own.INPUTS, own.TARGETS, form="samples"),
    ),
    "logistic": ((3, 4, 1), own.logistic, lf.LogisticLoss(own.INPUTS, own.LABELS)),
}
"""Name -> widths, the function, the loss that it is."""

METHODS = {
    "descent": (DESCENT, {"n_steps": 40}, RECORD),
    "momentum": (lf.GradientDescent(0.02, momentum=0.9), {"n_steps": 40}, RECORD),
    "by the loss": (
        lf.GradientDescent(lf.StepRule.loss_normalized(0.01)),
        {"n_steps": 40},
        RECORD,
    ),
    "by the gradient": (
        lf.GradientDescent(lf.StepRule.gradient_normalized(0.01)),
        {"n_steps": 40},
        RECORD,
    ),
    "flow": (
        lf.GradientFlow(1e-11),
        {"until": 2.0},
        lf.Record.at_times([0.0, 0.7, 2.0], ("loss", "gradient_norm", "product")),
    ),
    "logarithmic": (
        lf.GradientFlow(1e-11, log_time=True),
        {"until": 2.0},
        lf.Record.at_times([0.0, 0.7, 2.0], ("loss", "gradient_norm", "product")),
    ),
}


def custom(kind, how="python"):
    widths, function, _ = BUILT_IN[kind]
    called = own.by_ctypes(function) if how == "ctypes" else function
    return lf.CustomLoss(called, (widths[-1], widths[0]))


@crossed(
    ("runs", [(), (3,), (2, 30)]),
    (
        ("kind", "method"),
        [(k, m) for k in BUILT_IN for m in METHODS if k != "logistic" or "flow" not in m],
    ),
    ("how", ["python", "ctypes"]),
    n=22,
)
def test_it_is_what_a_built_in_loss_gives(kind, method, how, runs):
    widths, _, expected = BUILT_IN[kind]
    rule, length, record = METHODS[method]
    options = {"method": rule, "record": record, **length}
    start = make_start(widths, runs, scale=0.4)
    run = lf.train(lf.Dense(widths), custom(kind, how), start, n_threads=2, **options)
    other = lf.train(lf.Dense(widths), expected, start, **options)
    tolerance = 1e-13 if "until" not in length else 1e-9  # where steps are chosen, they differ
    for name, array in parts(other).items():
        assert_allclose(parts(run)[name], array, atol=tolerance, rtol=tolerance, err_msg=name)


@pytest.mark.parametrize("how", ["python", "ctypes"])
def test_single_precision(how):
    widths, _, expected = BUILT_IN["squared"]
    start = make_start(widths, (50,), scale=0.4, dtype=np.float32)
    options = {"method": DESCENT, "n_steps": 40, "record": RECORD}
    run = lf.train(lf.Dense(widths), custom("squared", how), start, **options)
    assert run.final.weights[0].dtype == np.float32
    other = lf.train(lf.Dense(widths), expected, start, **options)
    for name, array in parts(other).items():
        assert_allclose(parts(run)[name], array, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("chain", CHAINS, ids=str)
def test_every_network_as_the_reference(chain):
    shape = (chain.n_outputs, chain.n_inputs)
    targets = np.random.default_rng(0).standard_normal((9, shape[0] * shape[1]))
    start = lf.initialization.gaussian(chain, scale=0.4, rng=0, batch_shape=9)
    options = {"method": lf.GradientDescent(0.02), "n_steps": 6, "record": lf.Record.every(3)}
    for function in (own.to_target, own.to_target_by_ctypes):
        loss = lf.CustomLoss(function, shape, targets)
        run = lf.train(chain, loss, start, n_threads=2, **options)
        slow = reference.train(chain, loss, start, **options)
        for name, array in parts(slow).items():
            assert_allclose(parts(run)[name], array, rtol=1e-12, atol=1e-13, err_msg=name)


def test_gradients_are_differences_of_recorded_losses():
    """Of the weights of layers, by the loss that is recorded."""
    network, loss = lf.Dense((3, 4, 2)), lf.CustomLoss(own.pseudo_huber, (2, 3))
    start = [np.array(w) for w in make_start((3, 4, 2), scale=0.6)]
    run = lf.train(network, loss, start, method=lf.GradientDescent(1.0), n_steps=1)
    for layer, w in enumerate(start):
        taken = w - run.final.weights[layer]
        for place in np.ndindex(w.shape):
            both = []
            for change in (1e-5, -1e-5):
                moved = [np.array(v) for v in start]
                moved[layer][place] += change
                both.append(float(lf.observe(network, loss, moved, ("loss",))["loss"]))
            assert_allclose(taken[place], (both[0] - both[1]) / 2e-5, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("widths", [(3, 2), (3, 4, 2), (3, 20, 20, 2)])
def test_bits_depend_on_the_run_alone(widths, dtype):
    """Not on threads, the batch, the place in it or a pause; some runs diverge, some stop before."""
    number = np.arange(90)
    targets = np.random.default_rng(1).standard_normal((90, 6))
    start = [np.array(w) for w in make_start(widths, (90,), scale=0.5, dtype=dtype)]
    start[0][number % 16 == 5] *= dtype(1e15 if dtype == np.float32 else 1e150)
    limit = np.where(number % 7 == 2, 2.5, 0.0)

    def train(which, n_steps=60, weights=None, **options):
        return lf.train(
            lf.Dense(widths), lf.CustomLoss(own.to_target, (2, 3), targets[which]),
            [w[which] for w in start] if weights is None else weights,
            method=lf.GradientDescent((0.01 + 0.001 * (number % 5))[which]), n_steps=n_steps,
            stop=lf.Stop(loss=limit[which]), record=lf.Record.every(6, ("loss", "product")), **options,
        )  # fmt: skip

    whole = train(slice(None), n_threads=1)
    assert set(np.unique(whole.status)) >= {lf.Status.COMPLETED, lf.Status.CONVERGED}
    if len(widths) > 2:
        assert (whole.status == lf.Status.DIVERGED).sum() >= 5
    assert_same(train(slice(None), n_threads=2), whole)
    assert_same(train(slice(None), n_threads=3), whole)
    for which in (slice(7, 8), slice(30, 41), slice(None, None, -1), slice(0, 90, 8)):
        assert_same(train(which, n_threads=2), whole, which)
    half = train(slice(None), n_steps=24)
    rest = train(slice(None), n_steps=36, weights=half.final)
    for name, array in parts(rest).items():
        if name.startswith(("final", "status", "stopped")):
            assert_array_equal(array, parts(whole)[name], err_msg=name)


def test_all_runs_of_a_thread_go_together():
    sizes = []

    def function(products):
        sizes.append(len(products))
        return own.pseudo_huber(products)

    loss = lf.CustomLoss(function, (2, 3))
    record = lf.Record.at([50], ("loss", "gradient_norm"))

    def train(runs, **options):
        sizes.clear()
        start = make_start((3, 4, 2), (runs,), scale=0.4)
        lf.train(lf.Dense((3, 4, 2)), loss, start, **{"method": DESCENT, "n_steps": 50, "record": record,
                                                      "n_threads": 1} | options)  # fmt: skip
        return list(sizes)

    assert train(40) == [40] * 51
    assert train(40, record=lf.Record.every(10, ("loss",))) == [40] * 56
    shared = train(40, n_threads=2)  # a thread that comes late finds some of its share taken
    assert max(shared) == 20
    assert sum(shared) == 40 * 51
    by_loss = lf.GradientDescent(lf.StepRule.loss_normalized(0.01))
    assert train(40, method=by_loss) == [40] * 51  # a step asks for value and gradient at once
    flow = train(10, method=lf.GradientFlow(), n_steps=None, until=1.0,
                 record=lf.Record.at_times([1.0], ("loss",)))  # fmt: skip
    assert max(flow) <= 10


@pytest.mark.parametrize("how", ["python", "ctypes"])
def test_a_nan_of_one_run_is_its_divergence(how):
    """As in the reference, and of no other run."""

    start = make_start((3, 4, 2), (30,), scale=0.5)
    limit = np.quantile((start[1] @ start[0])[:, 0, 0], 0.8)

    def function(products):
        values, gradients = own.squared(products)
        gradients[products[:, 0, 0] > limit] = np.nan
        return values, gradients

    called = own.by_ctypes(function) if how == "ctypes" else function
    options = {"method": DESCENT, "n_steps": 20, "record": lf.Record.every(5, ("loss", "product"))}
    loss = lf.CustomLoss(called, (2, 3))
    run = lf.train(lf.Dense((3, 4, 2)), loss, start, n_threads=2, **options)
    slow = reference.train(lf.Dense((3, 4, 2)), loss, start, **options)
    assert 0 < (run.status == lf.Status.DIVERGED).sum() < 30
    for name, array in parts(slow).items():
        assert_allclose(parts(run)[name], array, rtol=1e-12, atol=1e-13, err_msg=name)


def test_evaluated_losses_stop_rules_and_observe():
    widths, _, squared = BUILT_IN["squared"]
    mine = {"python": custom("squared"), "compiled": custom("squared", "ctypes")}
    start = make_start(widths, (30,), scale=0.4)
    options = {"method": DESCENT, "n_steps": 30}
    record = lf.Record.every(10, ("loss", "product"), evaluate=mine)
    run = lf.train(lf.Dense(widths), squared, start, record=record, n_threads=2, **options)
    assert_allclose(run.loss_python, run.loss, atol=1e-13)
    assert_array_equal(run.loss_python, run.loss_compiled)
    limit = float(np.median(run.loss_python[:, 2]))
    stop = lf.Stop(evaluate={"python": limit}, check_every=10)
    stopped = lf.train(lf.Dense(widths), squared, start, record=record, stop=stop, **options)
    met = run.loss_python <= limit
    expected = np.where(met.any(axis=-1), 10 * met.argmax(axis=-1), 30)
    assert_array_equal(stopped.stopped_at, expected)
    by_own = lf.train(lf.Dense(widths), mine["python"], start, record=record,
                      stop=lf.Stop(loss=limit, check_every=10), **options)  # fmt: skip
    assert_array_equal(by_own.stopped_at, expected)
    seen = lf.observe(lf.Dense(widths), mine["python"], start, ("loss", "gradient_norm"))
    other = lf.observe(lf.Dense(widths), squared, start, ("loss", "gradient_norm"))
    for name, array in other.items():
        assert_allclose(seen[name], array, atol=1e-13)


class Failed(Exception):
    """What functions of these tests raise."""


def failing(where, raised, exception=Failed, after=30):
    """Return a function that raises in the calling thread, or in another, after so many calls."""
    main, count = threading.get_ident(), []

    def function(products):
        is_main = threading.get_ident() == main
        if is_main == (where == "calling"):
            count.append(None)
            if len(count) > after:
                raised.append(exception("it failed"))
                raise raised[-1]
        return own.squared(products)

    return function


CALLS = {
    "train": lambda loss, start: lf.train(
        lf.Dense((3, 4, 2)), loss, start, method=DESCENT, n_steps=10**9, n_threads=2,
        record=lf.Record.at([10**9], ("loss",)),
    ),
    "flow": lambda loss, start: lf.train(
        lf.Dense((3, 4, 2)), loss, start, method=lf.GradientFlow(1e-13, max_steps=10**9), until=1e9,
        record=lf.Record.at_times([1e9], ("loss",)), n_threads=2,
    ),
    "evaluate": lambda loss, start: lf.train(
        lf.Dense((3, 4, 2)), BUILT_IN["squared"][2], start, method=DESCENT, n_steps=10**6, n_threads=2,
        record=lf.Record.every(1000, ("loss",), evaluate={"mine": loss}),
    ),
}  # fmt: skip


@crossed(
    ("exception", [Failed, KeyboardInterrupt, SystemExit, StopIteration]),
    ("where", ["calling", "other"]),
    ("call", CALLS),
    n=8,
)
def test_what_a_function_raises_is_raised(call, where, exception):
    """The object itself, with its traceback, from whichever thread; and the library goes on."""
    raised = []
    start = make_start((3, 4, 2), (64,), scale=0.4)
    loss = lf.CustomLoss(failing(where, raised, exception), (2, 3))
    with pytest.raises(exception) as caught:
        CALLS[call](loss, start)
    assert caught.value is raised[0]
    assert len(raised) <= 2  # of each thread at most one
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert frames[-1].name == "function"
    assert frames[-1].filename == __file__
    assert "CALLS" in frames[0].line or frames[0].filename == __file__
    if exception is Failed:
        assert "raised by the function of a CustomLoss" in caught.value.__notes__[0]
    good = lf.train(lf.Dense((3, 4, 2)), custom("squared"), start, method=DESCENT, n_steps=5)
    assert (good.status == lf.Status.COMPLETED).all()


def test_an_error_ends_what_would_go_on_for_long():
    """Other workers are in the middle of theirs, and one is not asked again."""
    first = threading.Event()

    def function(products):
        if not first.is_set():
            first.set()
            raise Failed
        return own.squared(products)

    start = make_start((3, 4, 2), (300,), scale=0.4)
    for _ in range(20):
        first.clear()
        with pytest.raises(Failed):
            CALLS["train"](lf.CustomLoss(function, (2, 3)), start)


def test_nothing_is_kept():
    def function(products):
        return own.squared(products)

    raised = []
    bad = failing("other", raised, after=3)
    start = make_start((3, 4, 2), (40,), scale=0.4)
    compiled = own.by_ctypes(own.to_target, has_parameters=True)
    parameters = np.zeros(6)

    def everything():
        loss = lf.CustomLoss(function, (2, 3))
        for options in ({"n_threads": 1}, {"n_threads": 2}):
            lf.train(lf.Dense((3, 4, 2)), loss, start, method=DESCENT, n_steps=20, **options)
        lf.observe(lf.Dense((3, 4, 2)), loss, start, ("loss",))
        with pytest.raises(Failed):
            CALLS["train"](lf.CustomLoss(bad, (2, 3)), start)
        raised.clear()
        other = lf.CustomLoss(compiled, (2, 3), parameters)
        lf.train(lf.Dense((3, 4, 2)), other, start, method=DESCENT, n_steps=20)

    def references():
        gc.collect()
        return [sys.getrefcount(x) for x in (function, bad, compiled, parameters, Failed)]

    everything()
    before = references()
    for _ in range(5):
        everything()
    assert references() == before


def test_arrays_that_a_function_keeps_stay_what_they_were():
    kept = []

    def function(products):
        values, gradients = own.squared(products)
        kept.append((products, gradients, products.copy(), gradients.copy()))
        return values, gradients

    start = make_start((3, 4, 2), (20,), scale=0.4)
    lf.train(
        lf.Dense((3, 4, 2)), lf.CustomLoss(function, (2, 3)), start, method=DESCENT, n_steps=30
    )
    for products, gradients, was, were in kept:
        assert_array_equal(products, was)
        assert_array_equal(gradients, were)


def test_trainings_within_functions_and_in_several_threads():
    start = make_start((3, 4, 2), (12,), scale=0.4)
    options = {"method": DESCENT, "n_steps": 10, "n_threads": 2}
    expected = lf.train(lf.Dense((3, 4, 2)), custom("squared"), start, **options)

    def function(products):
        inner = lf.train(lf.Dense((3, 4, 2)), custom("squared"), start, **options)
        assert_array_equal(inner.loss, expected.loss)
        return own.squared(products)

    def train(_):
        return lf.train(lf.Dense((3, 4, 2)), lf.CustomLoss(function, (2, 3)), start, **options)

    with ThreadPoolExecutor(3) as pool:
        for run in pool.map(train, range(6)):
            assert_same(run, expected)


@HAS_FORK
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_functions_that_fork():
    """A child that ends in the function is none of ours; one that comes back from it is an error."""
    done = python(
        """
import os, threading, warnings
warnings.simplefilter("ignore")
import numpy as np, linnet_fast as lf, custom_functions as own
from support import make_start
start = make_start((3, 4, 2), (12,), scale=0.4)
main = threading.get_ident()
def forking(comes_back, where):
    done = []
    def function(products):
        if not done and (threading.get_ident() == main) == (where == "calling"):
            done.append(None)
            child = os.fork()
            if child == 0 and not comes_back:
                os._exit(7)
            if child:
                print(where, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        return own.squared(products)
    return function
for comes_back in (False, True):
    for where in ("calling", "other"):
        try:
            run = lf.train(lf.Dense((3, 4, 2)), lf.CustomLoss(forking(comes_back, where), (2, 3)), start,
                           method=lf.GradientDescent(0.05), n_steps=50, n_threads=2)
        except RuntimeError as error:
            assert "must not come back from it" in str(error)
            os._exit(9)
        print(run.message, flush=True)
""",
        timeout=60,
    )
    lines = done.stdout.split("\n")
    assert lines[::2][:4] == ["calling 7", "other 7", "calling 9", "other 1"], done.stdout
    assert lines[1::2] == ["12 runs: 12 completed"] * 4


@HAS_FORK
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_children_of_a_fork_train_on():
    start = make_start((3, 4, 2), (12,), scale=0.4)
    options = {"method": DESCENT, "n_steps": 10, "n_threads": 2}
    lf.train(lf.Dense((3, 4, 2)), custom("squared"), start, **options)

    def work():
        lf.train(lf.Dense((3, 4, 2)), custom("squared"), start, **options)
        os._exit(5)

    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join(60)
    assert child.exitcode == 5


INTERRUPT = """
import signal, threading, time
import numpy as np, linnet_fast as lf, custom_functions as own
from scipy import LowLevelCallable
from support import make_start
{function}
def press():
    time.sleep(0.5)
    pressed.append(time.perf_counter())
    signal.raise_signal(signal.SIGINT)
pressed = []
finger = threading.Thread(target=press)
start = make_start((3, 4, 2), ({runs},), scale=0.4)
finger.start()
try:
    lf.train(lf.Dense((3, 4, 2)), lf.CustomLoss(function, (2, 3)), start, method=lf.GradientDescent(0.05),
             n_steps=10**9, n_threads={threads}, record=lf.Record.at([10**9], ("loss",)))
except KeyboardInterrupt:
    print(time.perf_counter() - pressed[0])
finger.join()
run = lf.train(lf.Dense((3, 4, 2)), lf.CustomLoss(own.squared, (2, 3)), start,
               method=lf.GradientDescent(0.05), n_steps=3)
assert (run.status == 0).all()
"""
SLOW = "def function(products):\n    time.sleep(0.05)\n    return own.squared(products)"
COMPILED = "function = LowLevelCallable(own.library({folder!r}).slow)"


@pytest.mark.parametrize(
    ("function", "runs", "threads"),
    few(
        [("function = own.squared", 300, 2), (SLOW, 9, 2), (COMPILED, 300, 1), (COMPILED, 1, 1)], 2
    ),
)
def test_ctrl_c_stops_soon(function, runs, threads, tmp_path_factory):
    if function == COMPILED:
        folder = str(tmp_path_factory.mktemp("c"))
        if own.library(folder) is None:
            pytest.skip("there is no compiler")
        function = function.format(folder=folder)
    code = INTERRUPT.format(function=function, runs=runs, threads=threads)
    assert float(python(code).stdout) < 2


def test_files_name_functions_and_run_nothing(tmp_path, monkeypatch):
    (tmp_path / "loss_of_file.py").write_text(
        "import custom_functions\ncustom_functions.imported = True\nf = custom_functions.squared\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    start = make_start((3, 4, 2), (3,), scale=0.4)
    options = {"method": DESCENT, "n_steps": 10}
    run = lf.train(lf.Dense((3, 4, 2)), lf.CustomLoss("loss_of_file:f", (2, 3)), start, **options)
    assert own.imported
    for suffix in (".npz", ".nc"):
        run.save(tmp_path / f"run{suffix}")
        del own.imported
        sys.modules.pop("loss_of_file")
        again = lf.Trajectory.load(tmp_path / f"run{suffix}")
        assert repr(again.loss_function) == repr(run.loss_function)
        assert not hasattr(own, "imported")
        longer = lf.train(lf.Dense((3, 4, 2)), again.loss_function, again.final, **options)
        expected = lf.train(lf.Dense((3, 4, 2)), run.loss_function, run.final, **options)
        assert_same(longer, expected)
    nameless = lf.CustomLoss(lambda products: own.squared(1 * products), (2, 3))
    other = lf.train(lf.Dense((3, 4, 2)), nameless, start, **options)
    assert_array_equal(other.loss, run.loss)
    with pytest.raises(TypeError, match="a function must be at the top level of a module"):
        other.save(tmp_path / "no.npz")
    assert not (tmp_path / "no.npz").exists()
