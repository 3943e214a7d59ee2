"""Interrupts, threads, forks, callbacks that raise, and what is left behind in the process."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import threadpoolctl
from numpy.testing import assert_array_equal
from support import (
    EVERYTHING,
    THOROUGH,
    Batch,
    assert_same,
    crossed,
    few,
    make_loss,
    make_start,
    python,
)

import linnet_fast as lf
from linnet_fast import _core
from linnet_fast._base import machine

HAS_PROC = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
HAS_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

PREPARE = """
import os, signal, sys, threading, time
import numpy as np, linnet_fast as lf
from support import EVERYTHING, few, make_loss, make_start
NEVER = 10**12
FOREVER = lf.GradientFlow(1e-13, max_steps=10**12)
AT_ONCE = lf.Record.at_times([0.0], ("loss",))
def train(widths=(8, 8, 8), runs=(), n_steps=1000, **options):
    if n_steps is not None:
        options.setdefault("record", lf.Record.at([n_steps], ("loss",)))
    options.setdefault("method", lf.GradientDescent(1e-3))
    return lf.train(lf.Dense(widths), make_loss(widths), make_start(widths, runs, scale=0.5),
                    n_steps=n_steps, **options)
"""

INTERRUPT = (
    PREPARE
    + """
def interrupt(options):
    "Seconds of work from Ctrl-C, pressed while the training goes on, to KeyboardInterrupt."
    going, pressed = threading.Event(), []
    def press():
        going.wait()
        time.sleep(0.1)
        pressed.extend([time.process_time(), time.perf_counter()])
        signal.raise_signal(signal.SIGINT)
    finger = threading.Thread(target=press)
    finger.start()
    try:
        train(progress=lambda *_: going.set(), **options)
    except KeyboardInterrupt:
        assert time.perf_counter() - pressed[1] < 20
        return time.process_time() - pressed[0]
    finally:
        finger.join()
    raise AssertionError("was not interrupted")
expected = train().loss
latency = []
for attempt in range(5):  # a busy machine may be late once
    latency.append(interrupt(OPTIONS))
    assert np.array_equal(train().loss, expected)
    if latency[-1] < 0.5:
        break
print(min(latency))
"""
)
LONG = [
    ("one run", "dict(n_steps=NEVER)"),
    ("two runs", "dict(runs=2, n_steps=NEVER, n_threads=2)"),
    ("nine runs", "dict(runs=9, n_steps=NEVER, n_threads=2)"),
    ("many runs", "dict(runs=3000, n_steps=NEVER, n_threads=2)"),
    ("more threads than runs", "dict(runs=2, n_steps=NEVER, n_threads=8)"),
    (
        "one long and many short ones",
        "dict(runs=64, n_steps=NEVER, n_threads=2, stop=lf.Stop(loss=np.where(np.arange(64) == 9, 0, 1e9)))",
    ),
    ("one thread only", "dict(runs=64, n_steps=NEVER, n_threads=1)"),
    ("float32", "dict(runs=64, n_steps=NEVER, dtype=np.float32)"),
    ("flows", "dict(runs=64, n_steps=None, method=FOREVER, until=1e12, record=AT_ONCE)"),
    (
        "a wide flow",
        "dict(widths=(900, 900, 900), n_steps=None, method=FOREVER, until=1e12, record=AT_ONCE)",
    ),
    ("very wide", "dict(widths=(1400, 1400, 1400), n_steps=NEVER)"),
    ("wide and deep", "dict(widths=(440,) * 33, n_steps=NEVER, method=lf.GradientDescent(1e-9))"),
    (
        "records of all steps",
        "dict(widths=(60, 60, 60), n_steps=10**5, runs=4, record=lf.Record.every(1, ('singular_values',)))",
    ),
    (
        "wide records",
        "dict(widths=(1000, 1000, 1000), n_steps=500, record=lf.Record.every(1, ('imbalance',)))",
    ),
    (
        "singular values of 800",
        "dict(widths=(800, 800, 800), n_steps=500, record=lf.Record.every(1, ('singular_values',)))",
    ),
]


@pytest.mark.parametrize(("case", "options"), few(LONG, 5), ids=[case for case, _ in few(LONG, 5)])
def test_ctrl_c_stops_soon_and_the_next_call_works(case, options):
    """The limit is of the time of the processors, which others on the machine do not lengthen much."""
    done = python(INTERRUPT.replace("OPTIONS", options))
    assert float(done.stdout) < 0.5, case


@pytest.mark.parametrize(
    ("widths", "runs", "observable"),
    few([((1400, 1400, 1400), 2, "loss"), ((1000, 1000, 1000), (), "layer_alignment")], 1),
    ids=few(["wide networks are laid out", "singular vectors are recorded"], 1),
)
def test_ctrl_c_stops_soon_whenever_it_is_pressed(widths, runs, observable):
    """Before the first step, too: after so much work of the processors, and within so much."""
    done = python(
        PREPARE
        + f"""
widths = {widths}
loss, start = make_loss(widths), make_start(widths, {runs}, scale=0.1)
record = lf.Record.at([0, 1, 2, 10**6], ("{observable}",))
def interrupt(after):
    pressed, begin = [], time.process_time()
    def press():
        while time.process_time() - begin < after:
            time.sleep(0.001)
        pressed.append(time.process_time())
        signal.raise_signal(signal.SIGINT)
    finger = threading.Thread(target=press)
    finger.start()
    try:
        lf.train(lf.Dense(widths), loss, start, method=lf.GradientDescent(1e-6), n_steps=10**6,
                 record=record, n_threads=2)
    except KeyboardInterrupt:
        return time.process_time() - pressed[0]
    finally:
        finger.join()
print(*(min(interrupt(after) for _ in range(2)) for after in (0.1, 0.2, 0.4)))
"""
    )
    assert max(map(float, done.stdout.split())) < 0.5


def test_ctrl_c_goes_to_the_main_thread_while_another_trains():
    """A training elsewhere is not disturbed, and does not keep the main thread from Python."""
    done = python(
        PREPARE
        + """
results = []
worker = threading.Thread(target=lambda: results.append(train(runs=64, n_steps=200_000)))
worker.start()
try:
    time.sleep(0.05)
    signal.raise_signal(signal.SIGINT)
    time.sleep(10)
except KeyboardInterrupt:
    print("caught")
worker.join()
assert np.array_equal(results[0].loss, train(runs=64, n_steps=200_000).loss)
"""
    )
    assert done.stdout == "caught\n"


@crossed(
    ("n_threads", [1, 2, 4]),
    (
        ("widths", "n_steps", "record"),
        [
            ((8, 8, 8), 10**12, lf.Record.at([10**12], ("loss",))),
            ((450, 450, 450), 10**12, lf.Record.at([10**12], ("loss",))),
            ((400, 400, 400), 1000, lf.Record.every(1, ("imbalance",))),  # slow to stop
        ],
    ),
)
def test_an_exception_in_the_callback_comes_out_once(widths, n_steps, record, n_threads):
    calls = []

    def progress(done, _total):
        calls.append(done)
        if len(calls) == 2:
            msg = "from the callback"
            raise LookupError(msg)

    loss, start = make_loss(widths), make_start(widths, (n_threads,))
    with pytest.raises(LookupError, match="from the callback") as info:
        lf.train(lf.Dense(widths), loss, start, method=lf.GradientDescent(1e-6), n_steps=n_steps,
                 record=record, n_threads=n_threads, progress=progress)  # fmt: skip
    assert info.value.__cause__ is None
    assert len(calls) == 2
    assert_same(Batch((3, 3)).train(n_threads=n_threads), Batch((3, 3)).train())


def test_an_exception_in_the_last_call_of_the_callback_comes_out():
    def progress(done, total):
        assert done < total, "at the end"

    with pytest.raises(AssertionError, match="at the end"):
        Batch((3, 3)).train(progress=progress)


def test_a_callback_may_train():
    batch = Batch((3, 3, 3))
    expected, inner = batch.train(), []

    def progress(*_):
        if not inner:
            inner.append(batch.train())

    outer = Batch((8, 8, 8), n_steps=100_000)
    record = lf.Record.at([100_000], EVERYTHING)
    run = outer.train(progress=progress, record=record)
    assert_same(inner[0], expected)
    assert_same(outer.train(record=record), run)


@HAS_FORK
@pytest.mark.parametrize(
    ("then", "n_threads"),
    [("return", 1), ("return", 5), ("raise SystemExit(7)", 2), ("os._exit(7)", 2)],
)
def test_a_child_that_is_forked_in_the_callback_does_not_hang(then, n_threads):
    """It has none of the call's threads: it leaves the call with an error, or with its own."""
    done = python(
        PREPARE
        + f"""
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
children = []
def progress(*_):
    if not children:
        children.append(os.fork())
        if children[0] == 0:
            signal.alarm(30)
            {then}
options = dict(runs=64, n_steps=100_000, n_threads={n_threads})
code = 1
try:
    run = train(progress=progress, **options)
except RuntimeError as error:
    code = 5 if "forked within a call must not go on" in str(error) else 6
except SystemExit as end:
    code = end.code
if children[0] == 0:
    os._exit(code)
print(os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]))
assert np.array_equal(run.loss, train(**options).loss)
"""
    )
    assert int(done.stdout) == (5 if then == "return" else 7)


@HAS_FORK
@pytest.mark.parametrize("before", ["train(runs=64, n_threads=2)", "None"])
def test_fork_after_a_call(before):
    """Threads do not survive a fork: a child that waited for them would hang until its alarm."""
    done = python(
        PREPARE
        + f"""
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
{before}
expected = train(runs=64, n_threads=1).loss
def child(depth):
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        good = np.array_equal(train(runs=64, n_threads=2).loss, expected)
        good = good and np.array_equal(train(runs=64).loss, expected)
        if depth:
            good = good and child(depth - 1) == 0
        os._exit(0 if good else 1)
    return os.waitpid(pid, 0)[1]
print([child(1), child(0)], np.array_equal(train(runs=64, n_threads=2).loss, expected))
"""
    )
    assert done.stdout == "[0, 0] True\n"


@pytest.mark.parametrize("widths", [(3, 3, 3), (16, 16, 16)])
def test_python_threads_get_equal_results(widths):
    batch = Batch(widths, n_steps=400)
    whole = batch.train(n_threads=1)

    def job(i):
        which = [slice(None), i, slice(0, 9)][i % 3]
        return which, batch.train(which, n_threads=1 + i % 3)

    with ThreadPoolExecutor(8) as pool:
        for which, run in pool.map(job, few(range(48), 24)):
            assert_same(run, whole, which)


@pytest.mark.parametrize("limit", [1, 2])
def test_default_threads_follow_threadpoolctl(limit):
    _core.default_threads()
    with threadpoolctl.threadpool_limits(limit):
        if _core.build_info()["threads"] == "openmp":
            assert machine.n_threads() <= limit
    assert machine.n_threads() >= 1


@HAS_PROC
@pytest.mark.parametrize(
    ("environment", "before", "at_most"),
    [
        ({"OMP_NUM_THREADS": "1"}, "None", 1),
        ({"OMP_NUM_THREADS": "1000"}, "None", os.cpu_count()),
        ({}, "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])", 1),
        ({"OMP_THREAD_LIMIT": "1"}, "None", 1),
    ],
)
def test_default_threads_follow_environment_and_affinity(environment, before, at_most):
    """And that many are really started."""
    done = python(
        PREPARE
        + f"""
from pathlib import Path
from linnet_fast._base import machine
threads = lambda: len(list(Path("/proc/self/task").iterdir()))
{before}
idle = threads()
train(runs=64)
print(threads() - idle + 1, machine.n_threads())
""",
        **environment,
    )
    started, default = map(int, done.stdout.split())
    assert 1 <= started <= at_most
    if "OMP_THREAD_LIMIT" not in environment:
        assert 1 <= default <= at_most


@pytest.mark.parametrize(
    "environment",
    few(
        [
            {"OMP_THREAD_LIMIT": "1"},
            {"OMP_DYNAMIC": "true"},
            {"OMP_NUM_THREADS": "1"},
            {"OMP_SCHEDULE": "static"},
        ],
        2,
    ),
)
def test_every_run_is_trained_whatever_threads_openmp_gives(environment):
    done = python(
        PREPARE
        + """
for widths, runs in [((3, 3), 1000), ((3, 3), 5), ((40, 40), 33)]:
    whole = train(widths, runs, n_threads=7)
    assert np.isfinite(whole.loss).all() and (whole.stopped_at == 1000).all()
    assert np.array_equal(whole.loss, train(widths, runs, n_threads=1).loss)
""",
        **environment,
    )
    assert done.returncode == 0


# Ways in which a system gives no more threads. As root the number of processes has no limit.
NO_THREADS = {
    "processes": (
        {},
        """
if os.getuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
""",
    ),
    "memory": (
        {},
        """
pages = int(Path("/proc/self/statm").read_text().split()[0])
most = (pages + 900) * resource.getpagesize()  # a thread's stack takes more
resource.setrlimit(resource.RLIMIT_AS, (most, most))
""",
    ),
    "stack size of OpenMP": ({"OMP_STACKSIZE": "100G"}, ""),
}


@HAS_PROC
@pytest.mark.skipif(_core.build_info()["threads"] == "openmp", reason="libgomp ends the process")
@pytest.mark.parametrize("way", NO_THREADS)
def test_threads_that_cannot_be_had(way):
    """A system that gives no more threads trains on those there are."""
    environment, limit = NO_THREADS[way]
    done = python(
        PREPARE
        + f"""
import resource
from pathlib import Path
threads = lambda: len(list(Path("/proc/self/task").iterdir()))
expected = train((2, 2), 4000, n_threads=1).loss
before = threads()
{limit}
for n_threads in (2, 40, 1):
    assert np.array_equal(train((2, 2), 4000, n_threads=n_threads).loss, expected)
print(threads() - before)
""",
        **environment,
    )
    assert (int(done.stdout) == 0) == bool(limit)


@HAS_PROC
def test_many_calls_leave_no_memory_behind():
    """Thousands of calls, good ones, bad ones and ones that a callback ends."""
    done = python(
        PREPARE
        + f"n_calls = {10_000 if THOROUGH else 2_000}"
        + """
import gc, resource
def fail(*_):
    raise LookupError
def resident():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
network, loss, start = lf.Dense((3, 4, 2)), make_loss((3, 4, 2)), make_start((3, 4, 2), (9,))
record = lf.Record.every(10, EVERYTHING)
def call(i):
    bad = {1: {"n_steps": -1}, 2: {"progress": fail}, 3: {"method": lf.GradientDescent(1e9)}}.get(i % 5, {})
    options = {"method": lf.GradientDescent([0.01] * 9), "n_steps": 20, "record": record} | bad
    try:
        lf.train(network, loss, start, n_threads=1 + (i % 10 == 0), **options)
    except (ValueError, LookupError):
        pass
    if i % 7 == 0:
        try:
            lf._core.train(widths=[3], run_shape=[], weights=[])
        except TypeError:
            pass
sizes = []
for i in range(n_calls):
    call(i)
    if i % (n_calls // 10) == n_calls // 10 - 1:
        sizes.append(resident())
print(n_calls // 10, *sizes)
"""
    )
    n_between, *sizes = np.array(done.stdout.split(), float)
    # A leak grows in every part; an allocator that takes one more arena, in one of them.
    slope = np.median(np.diff(sizes[3:])) / n_between
    assert slope < 50, f"{slope} bytes a call: {sizes}"


def test_the_state_of_the_floating_point_unit_is_left_alone():
    """Subnormal numbers and traps, in the calling thread and in threads started afterwards."""
    tiny = np.full(9, 1e-310)
    results = []

    def look():
        results.append(tiny * 1.0)
        with np.errstate(all="raise"):
            results.append(np.full(9, 1e-300) * 1e-10)

    Batch((8, 8, 8)).train(n_threads=3)
    with np.errstate(under="ignore"):
        results.append(np.full(9, 1e-300) * 1e-10)
    thread = threading.Thread(target=lambda: results.append(tiny * 1.0))
    thread.start()
    thread.join()
    results.append(tiny * 1.0)
    for result in results:
        assert_array_equal(result, tiny)
    # In the core, too: nothing is flushed to zero.
    loss = lf.SquaredLoss(np.eye(1), np.zeros((1, 1)), 0.0)
    start = (np.full((20, 1, 1), 2.0**-1040),)
    for which in (start, (start[0][0],)):
        run = lf.train(lf.Dense((1, 1)), loss, which, method=lf.GradientDescent(0.5), n_steps=10)
        assert (run.final.weights[0] == 2.0**-1050).all()


@crossed(
    ("late", [0.0, 0.017, 0.031]), ("what", ["train(n_steps=NEVER, n_threads=2)", "descend()"])
)
def test_a_program_may_end_while_a_daemon_thread_trains(what, late):
    """Seen to abort with 134: the unwinding of a thread at the end was caught and not passed on."""
    python(
        PREPARE
        + f"""
from linnet_fast import _core
started = threading.Event()
def descend():
    ones = np.ones(1)
    _core.balanced_descent(drive=1e-9 * ones, brake=0 * ones, rest=2 * ones, gap=ones, n_layers=3, steps=[2**62])
def work():
    started.set()
    {what}
threading.Thread(target=work, daemon=True).start()
started.wait()
time.sleep({0.15 + late})
"""
    )
