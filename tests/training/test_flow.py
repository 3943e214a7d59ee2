"""Gradient flow by the core: against closed forms, SciPy, itself in other batches, and bad arguments."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from scipy.stats import ortho_group

import linnet_fast as lf
from linnet_fast import reference
from linnet_fast.records.observables import OBSERVABLES

EVERYTHING = tuple(name for name, row in OBSERVABLES.items() if not row.needs)


def problem(widths, runs=(), seed=0, scale=0.4):
    rng = np.random.default_rng([seed, *widths])
    x = rng.standard_normal((20 * widths[0], widths[0]))
    y = x @ rng.standard_normal((widths[0], widths[-1])) + rng.standard_normal((len(x), widths[-1]))
    network = lf.Dense(widths)
    start = lf.initialization.gaussian(network, scale=scale, rng=seed, batch_shape=runs)
    return network, lf.SquaredLoss.from_data(x, y), start


def assert_equal_runs(one, two, index=()):
    """All of `one` is run `index` of `two`, bit for bit."""
    for name in one.observables:
        a, b = one.observables[name], two.observables[name]
        pairs = zip(a, b, strict=True) if name == "weights" else [(a, b)]
        for mine, other in pairs:
            assert_array_equal(mine, other[index])
    for mine, other in zip(one.final.weights, two.final.weights, strict=True):
        assert_array_equal(mine, other[index])
    assert_array_equal(one.status, two.status[index])
    assert_array_equal(one.stopped_at, two.stopped_at[index])
    assert_array_equal(one.n_steps, two.n_steps[index])


# --- against others


@settings(max_examples=25, deadline=None)
@given(widths=st.lists(st.integers(1, 6), min_size=2, max_size=5), seed=st.integers(0, 1000))
def test_the_core_agrees_with_scipy(widths, seed):
    # Tolerance: 1e-6 of the largest entry at rtol 1e-9; both are far below it.
    network, loss, start = problem(tuple(widths), (3,), seed)
    options = {
        "method": lf.GradientFlow(1e-9),
        "until": 4.0,
        "record": lf.Record.at_times([0.0, 0.3, 1.7, 4.0], observables=EVERYTHING),
    }
    ours = lf.train(network, loss, start, **options)
    theirs = reference.train(network, loss, start, **options)
    for name in EVERYTHING:
        a, b = ours.observables[name], theirs.observables[name]
        for mine, other in zip(a, b, strict=True) if name == "weights" else [(a, b)]:
            size = np.nan_to_num(np.abs(other)).max(initial=1e-3)
            assert_allclose(mine, other, rtol=1e-6, atol=1e-6 * size)
    assert (ours.status == 0).all()
    assert_array_equal(ours.stopped_at, 4.0)


def test_one_layer_is_the_linear_flow():
    network, loss, start = problem((5, 3))
    times = np.linspace(0, 6, 13)
    record = lf.Record.at_times(times, observables=("product",))
    run = lf.train(network, loss, start, method=lf.GradientFlow(1e-11), until=6.0, record=record)
    best = np.linalg.solve(loss.input_cov, loss.cross_cov.T).T
    for time, product in zip(times, run.product, strict=True):
        expected = best + (start[0] - best) @ expm(-loss.input_cov * time)
        assert_allclose(product, expected, atol=2e-10)


def staircase(scale, rtol):
    """Return relative errors of all modes over the whole staircase, on turned data."""
    sigma, lam = np.array([1, 0.8, 0.6, 0.45, 0.3, 0.2]), np.array([1, 0.5, 2, 1, 0.7, 1.0])
    u, v, q = (ortho_group.rvs(6, random_state=seed) for seed in (1, 2, 3))
    cov = (v * lam) @ v.T
    loss = lf.SquaredLoss((cov + cov.T) / 2, (u * sigma) @ v.T, 10.0)
    start = (np.sqrt(scale) * q @ v.T, np.sqrt(scale) * u @ q.T)
    # Past the last transition; there is nothing to see before the first tenth of the first.
    times = np.linspace(0, 1.3 * np.log(sigma[-1] / scale) / (2 * sigma[-1]), 300)
    record = lf.Record.at_times(times, observables=("product",))
    run = lf.train(
        lf.Dense((6, 6, 6)),
        loss,
        start,
        method=lf.GradientFlow(rtol),
        until=times[-1],
        record=record,
    )
    modes = np.einsum("ia,tij,ja->ta", u, run.product, v)
    t = times[:, None]
    exact = scale / (np.exp(-2 * sigma * t) - lam * scale * np.expm1(-2 * sigma * t) / sigma)
    return np.abs(modes / exact - 1).max()


@pytest.mark.parametrize("scale", [1e-4, 1e-8, 1e-12])
def test_modes_escape_on_time_from_any_scale(scale):
    assert staircase(scale, 1e-9) < 1e-6
    assert staircase(scale, 1e-12) < 1e-6


def test_a_mode_that_no_norm_can_see_grows_at_its_own_rate():
    # The second mode starts 98 orders of magnitude below the first, which rests while it grows: errors measured
    # by the norms of the layers leave it alone (5 % of it, at this tolerance), its growth must be resolved.
    sigma, start = np.array([1.0, 0.9]), np.array([1e-2, 1e-100])
    weights = (np.diag(np.sqrt(start)),) * 2
    times = np.linspace(0, 1.1 * np.log(1 / start[1]) / (2 * sigma[1]), 100)
    run = lf.train(
        lf.Dense((2, 2, 2)),
        lf.SquaredLoss(np.eye(2), np.diag(sigma), 2.0),
        weights,
        method=lf.GradientFlow(1e-9, atol=1e-300),
        until=times[-1],
        record=lf.Record.at_times(times, observables=("product",)),
    )
    modes = np.einsum("tii->ti", run.product)
    t = times[:, None]
    exact = start / (np.exp(-2 * sigma * t) - start * np.expm1(-2 * sigma * t) / sigma)
    assert_allclose(modes, exact, rtol=2e-6)


def test_depth_three_escapes_at_the_right_time():
    # From layers of scale e the time to half is exactly known for balanced modes (partial fractions).
    sigma, e = 1.0, 1e-3
    network, loss = lf.Dense((1, 1, 1, 1)), lf.SquaredLoss([[1.0]], [[sigma]], 1.0)
    start = (np.full((1, 1), e),) * 3

    def primitive(y):
        """Return the integral of 1 / (3 y^2 (1 - y^3)) times 3."""
        root = np.sqrt(3)
        tail = -np.log1p(-y) / 3 + np.log(y * y + y + 1) / 6
        return -1 / y + tail - (np.arctan((2 * y + 1) / root) - np.arctan(1 / root)) / root

    half = primitive(0.5 ** (1 / 3)) - primitive(e)
    record = lf.Record.at_times([half], observables=("product",))
    run = lf.train(network, loss, start, method=lf.GradientFlow(1e-10), until=1200.0, record=record)
    assert_allclose(run.product[0, 0, 0], 0.5, rtol=1e-5)  # a relative 1e-8 of the time of 1,000


def test_records_between_steps_are_as_good_as_steps():
    network, loss, start = problem((4, 4, 4), scale=1e-3)
    times = np.linspace(0, 10, 301)
    record = lf.Record.at_times(times, observables=("weights",))
    run = lf.train(network, loss, start, method=lf.GradientFlow(1e-9), until=10.0, record=record)
    assert run.n_steps < 100  # so that most records lie between steps

    def slope(_, flat):
        layers = np.split(flat, 2)
        w1, w2 = layers[0].reshape(4, 4), layers[1].reshape(4, 4)
        r = w2 @ w1 @ loss.input_cov - loss.cross_cov
        return -np.concatenate([(w2.T @ r).ravel(), (r @ w1.T).ravel()])

    begin = np.concatenate([w.ravel() for w in start])
    exact = solve_ivp(slope, (0, 10), begin, "DOP853", t_eval=times, rtol=1e-13, atol=1e-16).y.T
    ours = np.concatenate([w.reshape(len(times), -1) for w in run.weights], axis=1)
    size = np.linalg.norm(exact, axis=1)
    assert (np.linalg.norm(ours - exact, axis=1) / size).max() < 3e-7


def test_the_imbalance_is_kept():
    network, loss, start = problem((4, 3, 5, 2), (5,))
    record = lf.Record.geomspace(10, observables=("weights",))
    run = lf.train(network, loss, start, method=lf.GradientFlow(1e-12), until=5.0, record=record)
    for below, above in zip(run.weights[:-1], run.weights[1:], strict=True):
        gap = above.mT @ above - below @ below.mT
        assert_allclose(gap, gap[:, :1] + np.zeros_like(gap), atol=1e-9)


def test_weight_decay_is_a_flow_of_the_objective():
    network, loss, start = problem((3, 3, 3))
    options = {
        "until": 100.0,
        "record": lf.Record.at_times([100.0], observables=("gradient_norm",)),
    }
    run = lf.train(network, loss, start, method=lf.GradientFlow(weight_decay=0.1), **options)
    assert run.gradient_norm[0] < 1e-3
    norms = [np.linalg.norm(w) for w in run.final.weights]
    assert_allclose(norms[0], norms[1], rtol=1e-3)  # decay balances the layers
    theirs = reference.train(
        network, loss, start, method=lf.GradientFlow(weight_decay=0.1), **options
    )
    assert_allclose(run.final.weights[0], theirs.final.weights[0], atol=1e-5)


# --- the same bits everywhere


@pytest.mark.parametrize(
    "widths", [(1, 1), (2, 3), (4, 4, 4), (5, 3, 7, 2), (8, 8, 8), (20, 9, 18)]
)
def test_bits_depend_on_the_run_alone(widths):
    network, loss, start = problem(widths, (13,))
    options = {
        "method": lf.GradientFlow(1e-7),
        "until": 3.0 if max(widths) < 10 else 0.3,
        "record": lf.Record.geomspace(6, observables=EVERYTHING),
    }
    whole = lf.train(network, loss, start, n_threads=1, **options)
    assert_equal_runs(lf.train(network, loss, start, n_threads=3, **options), whole)
    for run in (0, 5, 12):
        alone = lf.train(network, loss, tuple(w[run] for w in start), **options)
        assert_equal_runs(alone, whole, run)
    order = np.random.default_rng(0).permutation(13)
    assert_equal_runs(
        lf.train(network, loss, tuple(w[order] for w in start), n_threads=2, **options),
        whole,
        order,
    )
    for batch in (1, 7, 8, 9):
        part = lf.train(network, loss, tuple(w[:batch] for w in start), **options)
        assert_equal_runs(part, whole, slice(0, batch))


def test_bits_do_not_depend_on_when_records_are_taken():
    network, loss, start = problem((3, 4, 2), (5,))
    few = lf.train(network, loss, start, method=lf.GradientFlow(), until=3.0)
    record = lf.Record.at_times(np.linspace(0, 3, 500), observables=("loss",))
    many = lf.train(network, loss, start, method=lf.GradientFlow(), until=3.0, record=record)
    for a, b in zip(few.final.weights, many.final.weights, strict=True):
        assert_array_equal(a, b)


def test_the_last_record_is_the_final_state():
    network, loss, start = problem((3, 4, 2), (5,))
    record = lf.Record.geomspace(7, observables=("weights",))
    run = lf.train(network, loss, start, method=lf.GradientFlow(), until=3.0, record=record)
    for records, first, last in zip(run.weights, start, run.final.weights, strict=True):
        assert_array_equal(records[:, 0], first)
        assert_array_equal(records[:, -1], last)
    assert (run.time[0], run.time[-1]) == (0.0, 3.0)


def test_a_slow_run_holds_no_other_back():
    network, loss, start = problem((4, 4, 4), (16,))
    scales = np.ones(16)
    scales[3] = 1e-9  # this one has a long way to go
    start = tuple(w * scales[:, None, None] for w in start)
    run = lf.train(network, loss, start, method=lf.GradientFlow(), until=40.0)
    alone = lf.train(
        network, loss, tuple(w[0] for w in start), method=lf.GradientFlow(), until=40.0
    )
    assert run.n_steps[0] == alone.n_steps
    assert len(set(run.n_steps.tolist())) > 3


# --- how runs end


def test_a_continued_flow_agrees_with_one_flow():
    network, loss, start = problem((3, 4, 2), (5,))
    method = lf.GradientFlow(1e-10)
    one = lf.train(network, loss, start, method=method, until=4.0)
    half = lf.train(network, loss, start, method=method, until=1.5)
    rest = lf.train(network, loss, half.final, method=method, until=4.0)
    for a, b in zip(rest.start.weights, half.final.weights, strict=True):
        assert_array_equal(a, b)
    assert (rest.time[0], rest.time[-1], rest.final.time) == (1.5, 4.0, 4.0)
    for a, b in zip(one.final.weights, rest.final.weights, strict=True):
        assert_allclose(a, b, atol=1e-8)


def test_nothing_happens_in_no_time():
    network, loss, start = problem((3, 4, 2), (5,))
    run = lf.train(network, loss, start, method=lf.GradientFlow(), until=0.0)
    assert run.time.tolist() == [0.0]
    assert (run.n_steps == 0).all()
    for a, b in zip(run.final.weights, start, strict=True):
        assert_array_equal(a, b)


def test_a_start_at_zero_stays_there():
    network, loss, _ = problem((3, 4, 2))
    zero = tuple(np.zeros(shape) for shape in network.shapes)
    run = lf.train(network, loss, zero, method=lf.GradientFlow(), until=1e6)
    assert run.status == lf.Status.COMPLETED
    assert not any(w.any() for w in run.final.weights)
    assert run.n_steps < 20
    # A single layer leaves zero at once.
    network, loss, start = problem((3, 2))
    run = lf.train(network, loss, (0 * start[0],), method=lf.GradientFlow(), until=200.0)
    best = np.linalg.solve(loss.input_cov, loss.cross_cov.T).T
    assert_allclose(run.final.weights[0], best, atol=1e-6)


def test_a_stop_rule_below_the_tolerance_is_never_met_and_said_to_be(tmp_path):
    network, loss, start = problem((3, 3, 3))
    flow = lf.GradientFlow(1e-6, max_steps=1500)
    run, met = (
        lf.train(network, loss, start, method=flow, until=1e9, stop=lf.Stop(gradient_norm=least))
        for least in (1e-10, 1e-4)
    )
    assert met.message == "1 run: 1 converged"
    assert met.n_steps < 100
    assert run.message.endswith("; a stop rule below what rtol=1e-06 can reach is never met")
    run.save(tmp_path / "run.npz")
    assert lf.Trajectory.load(tmp_path / "run.npz").message == run.message
    phases = [lf.Phase(flow, until=1.0), lf.Phase(flow, until=1e9, stop=lf.Stop(loss=0.0))]
    assert "a stop rule below" in lf.train(network, loss, start, phases=phases).message
    more = lf.train(network, loss, run.final, method=flow, until=1e9)
    assert more.status == lf.Status.EXHAUSTED
    assert "stop rule" not in more.message


def test_too_few_steps_exhaust_a_run_and_no_neighbour_notices():
    network, loss, start = problem((3, 3, 3), (9,))
    scales = np.ones(9)
    scales[4] = 1e-12
    start = tuple(w * scales[:, None, None] for w in start)
    calm = lf.train(network, loss, start, method=lf.GradientFlow(), until=10.0)
    most = int(np.sort(calm.n_steps)[-2])
    assert most < calm.n_steps[4]
    run = lf.train(network, loss, start, method=lf.GradientFlow(max_steps=most + 1), until=10.0)
    assert run.status[4] == lf.Status.EXHAUSTED
    assert 0 < run.stopped_at[4] < 10
    told = (
        f"1 exhausted (first: run (4,) at time {run.stopped_at[4]} of 10, after {most + 1} steps)"
    )
    assert told in repr(run)
    assert run.message.endswith(f"{told}; they go on where the training is continued, with more "
                                "max_steps or a method for stiff flows")  # fmt: skip
    assert run.n_steps[4] == most + 1
    assert np.isnan(run.loss[4, -1])
    assert np.isfinite(run.loss[4, 0])
    others = np.arange(9) != 4
    for a, b in zip(run.final.weights, calm.final.weights, strict=True):
        assert_array_equal(a[others], b[others])
    # It goes on from where it is, with as many steps again; the others from the end.
    record = lf.Record.at_times([10.0, 10.5, 11.0])
    whole = lf.train(network, loss, start, method=lf.GradientFlow(), until=11.0, record=record)
    done = []
    later = lf.train(
        network, loss, run.final, method=lf.GradientFlow(), until=11.0, record=record,
        progress=lambda *at: done.append(at),
    )  # fmt: skip
    assert later.status.tolist() == [0] * 9
    assert done[-1] == (9000, 9000)
    assert 0 < later.n_steps[4] < whole.n_steps[4]
    assert_allclose(later.loss, whole.loss, rtol=1e-6)
    again = lf.train(network, loss, run.final, method=lf.GradientFlow(max_steps=1), until=10.0)
    assert run.stopped_at[4] < again.stopped_at[4] < 10
    assert again.status[4] == lf.Status.EXHAUSTED
    assert (again.status[others] == lf.Status.COMPLETED).all()
    theirs = reference.train(
        network, loss, run.final, method=lf.GradientFlow(), until=11.0, record=record
    )
    assert_allclose(theirs.loss, later.loss, rtol=1e-6)


def test_rules_stop_runs_at_the_step_that_meets_them():
    network, loss, start = problem((3, 3, 3), (9,))
    stop = lf.Stop(gradient_norm=np.where(np.arange(9) % 2 == 0, 1e-4, 0.0))
    run = lf.train(network, loss, start, method=lf.GradientFlow(), until=200.0, stop=stop)
    assert run.status.tolist() == [1, 0] * 4 + [1]
    assert (run.stopped_at[::2] < 200).all()
    for index in (0, 2):
        weights = tuple(w[index] for w in run.final.weights)
        assert reference.observe("gradient_norm", weights, loss) <= 1e-4
    # One that is met at once takes no step.
    stop = lf.Stop(loss=1e9)
    run = lf.train(network, loss, start, method=lf.GradientFlow(), until=200.0, stop=stop)
    assert (run.stopped_at == 0).all()
    assert (run.n_steps == 0).all()
    assert np.isfinite(run.loss[:, 0]).all()
    assert np.isnan(run.loss[:, 1:]).all()


def test_tolerances_and_moments_per_run():
    network, loss, start = problem((2, 2, 2))
    method = lf.GradientFlow(rtol=[1e-4, 1e-10], atol=[[1e-9], [1e-12], [1e-6]])
    cross = np.stack([loss.cross_cov, 2 * loss.cross_cov])
    both = lf.SquaredLoss(loss.input_cov, cross, loss.output_power)
    run = lf.train(network, both, start, method=method, until=2.0)
    assert run.run_shape == (3, 2)
    assert (run.n_steps[:, 0] < run.n_steps[:, 1]).all()
    alone = lf.train(
        network,
        lf.SquaredLoss(loss.input_cov, cross[1], loss.output_power),
        start,
        method=lf.GradientFlow(1e-10, 1e-12),
        until=2.0,
    )
    assert_equal_runs(alone, run, (1, 1))


def test_progress_counts_to_the_end():
    network, loss, start = problem((8, 8, 8), (50,))
    seen = []
    lf.train(
        network,
        loss,
        start,
        method=lf.GradientFlow(1e-12),
        until=60.0,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1] == (50_000, 50_000)
    assert all(0 <= done <= total for done, total in seen)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_an_error_in_the_progress_function_ends_the_call():
    network, loss, start = problem((16, 16, 16), (64,))

    def fail(done, total):
        msg = f"{done} of {total}"
        raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match="of 64000"):
        lf.train(network, loss, start, method=lf.GradientFlow(1e-13), until=1e5, progress=fail)


# --- bad arguments


NETWORK, LOSS, START = problem((3, 3, 2))
FLOW = {"method": lf.GradientFlow(), "until": 1.0}
STATE = lf.State(START, None, np.zeros((), np.int8), np.zeros(()), 0.0)
STEPS = lf.State(START, 0, np.zeros((), np.int8), np.zeros((), np.int64))


@pytest.mark.parametrize(
    ("changes", "exception", "message"),
    [
        ({"until": None}, TypeError, "until must be given with GradientFlow"),
        ({"n_steps": 5}, TypeError, "GradientFlow must be given until, a time, and not n_steps"),
        (
            {"method": lf.GradientDescent(0.1), "n_steps": 5},
            TypeError,
            "GradientDescent must be given n_steps, the number of steps, and not until",
        ),
        ({"until": -1.0}, ValueError, "until must be >= 0, got -1"),
        ({"until": np.inf}, ValueError, "until must be finite"),
        (
            {"start": tuple(1e-150 * w for w in START)},
            ValueError,
            r"largest entry of start\[0\] must be 0 or between 1e-140 and 1e\+140",
        ),
        ({"start": (START[0], 1e145 * START[1])}, ValueError, r"largest entry of start\[1\]"),
        ({"until": "soon"}, TypeError, "until must be a real number"),
        ({"until": [1.0, 2.0]}, TypeError, "until must be a single number, got an array"),
        ({"record": lf.Record.every(2)}, ValueError, "use Record.at_times or Record.geomspace"),
        ({"record": lf.Record.at([1])}, ValueError, "not Record.at$"),
        (
            {"record": lf.Record.at_times([0.5, 2.0])},
            ValueError,
            r"times must lie within this training, 0.0 \.\.\. 1.0, got 2.0",
        ),
        ({"start": STEPS}, ValueError, "start anew from its weights: state.weights"),
        ({"dtype": np.float32}, ValueError, "start must be float64 for gradient flow"),
        ({"method": lf.GradientFlow([1e-8] * 4), "start": STATE}, ValueError, "method must have"),
    ],
)
def test_bad_arguments_are_refused(changes, exception, message):
    arguments = {"network": NETWORK, "loss": LOSS, "start": START, **FLOW, **changes}
    lf.train(NETWORK, LOSS, START, **FLOW)
    with pytest.raises(exception, match=message):
        lf.train(**arguments)


def test_a_descent_cannot_continue_a_flow():
    with pytest.raises(ValueError, match="got one of gradient flow; start anew"):
        lf.train(NETWORK, LOSS, STATE, method=lf.GradientDescent(0.1), n_steps=1)
    with pytest.raises(ValueError, match="record must be by steps for gradient descent"):
        lf.train(
            NETWORK,
            LOSS,
            START,
            method=lf.GradientDescent(0.1),
            n_steps=1,
            record=lf.Record.at_times([0.0]),
        )


@pytest.mark.parametrize(
    ("arguments", "exception", "message"),
    [
        ({"rtol": 0.0}, ValueError, "rtol must be >= 1e-13, got 0"),
        ({"rtol": [1e-8, 0.5]}, ValueError, "rtol must be <= 0.1, got 0.5"),
        ({"rtol": "tight"}, TypeError, "rtol must be a real number"),
        ({"atol": 0.0}, ValueError, "atol must be > 0, got 0"),
        ({"atol": np.nan}, ValueError, "atol must be finite"),
        ({"max_steps": 0}, ValueError, "max_steps must be >= 1, got 0"),
        ({"max_steps": 10.0}, TypeError, "max_steps must be an integer"),
        ({"weight_decay": -1}, ValueError, "weight_decay must be >= 0"),
        ({"rtol": [1e-8] * 2, "atol": [1e-8] * 3}, ValueError, "run axes"),
    ],
)
def test_flows_refuse_bad_tolerances(arguments, exception, message):
    with pytest.raises(exception, match=message):
        lf.GradientFlow(**arguments)


@pytest.mark.parametrize(
    ("times", "exception", "message"),
    [
        ([], ValueError, "time must not be empty"),
        ([1.0, 1.0], ValueError, "time must be strictly increasing, got 1.0 before 1.0"),
        ([-1.0, 1.0], ValueError, "time must be >= 0"),
        (1.0, ValueError, r"time must have shape \(n_rec,\), got \(\)"),
        (["a"], TypeError, "time must be a real number"),
    ],
)
def test_records_refuse_bad_times(times, exception, message):
    with pytest.raises(exception, match=message):
        lf.Record.at_times(times)


def test_flows_show_what_was_chosen():
    assert repr(lf.GradientFlow()) == "GradientFlow(rtol=1e-08, weight_decay=0)"
    shown = repr(lf.GradientFlow(1e-6, [1e-9, 1e-8], max_steps=7))
    assert shown == "GradientFlow(rtol=1e-06, atol=<array (2,)>, max_steps=7, weight_decay=0)"


def test_the_reference_takes_the_same_arguments():
    record = lf.Record.geomspace(2)
    with pytest.raises(TypeError, match="until must be given with GradientFlow"):
        reference.train(NETWORK, LOSS, START, method=lf.GradientFlow(), record=record)
    with pytest.raises(TypeError, match="and not n_steps"):
        reference.train(NETWORK, LOSS, START, **FLOW, n_steps=3, record=record)


def test_the_reference_is_the_closed_form():
    network, loss = lf.Dense((1, 1, 1)), lf.SquaredLoss([[1.0]], [[2.0]], 4.0)
    start = (np.full((1, 1), 1e-3),) * 2
    record = lf.Record.at_times([1.0, 3.0, 5.0], observables=("product",))
    options = {"method": lf.GradientFlow(1e-11), "until": 5.0, "record": record}
    expected = lf.rank_dynamics.mode_flow(2.0, time=[1.0, 3.0, 5.0], strength=1e-6).strength
    for train in (reference.train, lf.train):
        run = train(network, loss, start, **options)
        assert_allclose(run.product[:, 0, 0], expected, rtol=1e-8)


def test_geometric_times_meet_both_ends():
    assert lf.Record.geomspace(4).times(0.0, 5e-324).tolist() == [0.0, 5e-324]
    record = lf.Record.geomspace(4)
    assert_allclose(record.times(0.0, 8.0), [0, 0.008, 0.008 * 1000**0.5, 8.0])
    assert_allclose(record.times(2.0, 16.0), [2, 4, 8, 16])
    assert record.times(3.0, 3.0).tolist() == [3.0]
    assert lf.Record.geomspace(2).times(0.0, 5.0).tolist() == [0.0, 5.0]
