"""Phases: one axis of steps, one of time, each with a method, a loss, a stop rule of its own."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from support import make_loss, make_start

import linnet_fast as lf
from linnet_fast import rank_dynamics, reference

NETWORK = lf.Dense((3, 4, 2))
LOSS, OTHER = make_loss((3, 4, 2)), make_loss((3, 4, 2), seed=5)
START = make_start((3, 4, 2))
HEAVY = lf.GradientDescent(0.02, momentum=0.9)


def in_phases(*phases, engine=lf.train, start=START, loss=LOSS, record=None, **options):
    record = record or lf.Record.every(10, ("loss", "product", "weights"))
    return engine(NETWORK, loss, start, phases=phases, record=record, **options)


@pytest.mark.parametrize("engine", [lf.train, reference.train])
def test_phases_are_trainings_one_after_the_other(engine):
    """By hand, from state to state, bit for bit; task, method, rule and batches change."""
    rule = lf.GradientDescent(lf.StepRule.warmup(30, 0.05))
    run = in_phases(
        lf.Phase(n_steps=25),
        lf.Phase(n_steps=35, loss=OTHER),
        lf.Phase(n_steps=0),
        lf.Phase(n_steps=20, method=rule, stop=lf.Stop(loss=0.0)),
        lf.Phase(n_steps=20, method=lf.GradientDescent([[0.01], [0.03]])),
        engine=engine,
        start=tuple(np.stack([w, 0.5 * w]) for w in START),
        method=lf.GradientDescent([0.05, 0.02]),
    )
    state = tuple(np.stack([w, 0.5 * w])[None].repeat(2, axis=0) for w in START)
    method, parts = lf.GradientDescent([0.05, 0.02]), []
    last = lf.GradientDescent([[0.01], [0.03]])
    for n, loss, how in [
        (25, LOSS, method),
        (35, OTHER, method),
        (20, LOSS, rule),
        (20, LOSS, last),
    ]:
        own = lf.Record.every(1, ("loss", "product", "weights"))
        parts.append(engine(NETWORK, loss, state, method=how, n_steps=n, record=own))
        state = parts[-1].final
    assert_array_equal(run.steps, np.arange(0, 101, 10))
    for name in ("loss", "product", "time"):
        every = [np.broadcast_to(p.time, (2, 2, p.steps.size)) if name == "time" else getattr(p, name)
                 for p in parts]  # fmt: skip
        # Where a phase ends its own loss is recorded.
        joined = np.concatenate([every[0], *(a[:, :, 1:] for a in every[1:])], axis=2)
        assert_array_equal(getattr(run, name), joined[:, :, ::10])
    for mine, theirs in zip(run.final.weights, state.weights, strict=True):
        assert_array_equal(mine, theirs)
    assert_allclose(run.time[1, 0, -1], 60 * 0.05 + 20 * 0.05 + 20 * 0.03, rtol=1e-13)
    assert (run.n_steps == 100).all()
    assert run.phases[1].loss is OTHER
    assert run.phases[2].loss is LOSS
    assert run.message == "4 runs: 4 completed"


def test_records_are_of_the_whole():
    run = in_phases(
        lf.Phase(n_steps=30), lf.Phase(n_steps=3), lf.Phase(n_steps=67), method=lf.GradientDescent(0.05),
        record=lf.Record.geomspace(9),
    )  # fmt: skip
    whole = lf.train(
        NETWORK,
        LOSS,
        START,
        method=lf.GradientDescent(0.05),
        n_steps=100,
        record=lf.Record.geomspace(9),
    )
    assert_array_equal(run.steps, whole.steps)
    assert_array_equal(run.time, np.broadcast_to(whole.time, run.time.shape))
    assert_array_equal(run.loss, whole.loss)
    more = lf.train(
        NETWORK, LOSS, run.final, phases=[lf.Phase(n_steps=50)], method=lf.GradientDescent(0.05)
    )
    assert more.steps[[0, -1]].tolist() == [100, 150]


def test_memory_is_kept_or_reset():
    def end(*phases):
        return in_phases(lf.Phase(HEAVY, 40), *phases).final.weights[0]

    whole = lf.train(NETWORK, LOSS, START, method=HEAVY, n_steps=60).final.weights[0]
    assert_array_equal(end(lf.Phase(HEAVY, 20)), whole)
    again = end(lf.Phase(HEAVY, 20, reset=True))
    first = lf.train(NETWORK, LOSS, START, method=HEAVY, n_steps=40)
    anew = lf.train(NETWORK, LOSS, first.final.weights, method=HEAVY, n_steps=20)
    assert_array_equal(again, anew.final.weights[0])
    assert (again != whole).any()
    # What a method inside of another remembers is that of the method inside.
    upper = lf.SharpnessAware(HEAVY, 0.01)
    by_hand = lf.train(NETWORK, LOSS, first.final, method=upper, n_steps=20)
    assert_array_equal(end(lf.Phase(upper, 20)), by_hand.final.weights[0])
    other = lf.SharpnessAware(lf.RMSProp(0.01), 0.01)  # one array, too, but no velocities
    by_hand = lf.train(NETWORK, LOSS, first.final.weights, method=other, n_steps=20)
    assert_array_equal(end(lf.Phase(other, 20)), by_hand.final.weights[0])
    # Adam's corrections count from where its memory was nothing.
    adam = lf.Adam(0.01)
    by_hand = lf.train(NETWORK, LOSS, first.final.weights, method=adam, n_steps=20)
    assert_array_equal(end(lf.Phase(adam, 20)), by_hand.final.weights[0])
    # Another momentum goes on with the velocities; plain descent has none, and forgets them.
    lighter = lf.GradientDescent(0.02, momentum=0.5)
    by_hand = lf.train(NETWORK, LOSS, first.final, method=lighter, n_steps=20)
    assert_array_equal(end(lf.Phase(lighter, 20)), by_hand.final.weights[0])
    plain = lf.train(
        NETWORK, LOSS, first.final.weights, method=lf.GradientDescent(0.02), n_steps=20
    )
    assert_array_equal(end(lf.Phase(lf.GradientDescent(0.02), 20)), plain.final.weights[0])
    assert_array_equal(
        end(lf.Phase(lf.GradientDescent(0.02), 20), lf.Phase(HEAVY, 0)), plain.final.weights[0]
    )


def test_runs_that_stopped_go_on_with_another_task_only():
    stop = lf.Stop(loss=[1.2, 0.0], check_every=1)
    start = tuple(np.stack([w, w]) for w in START)
    options = {"start": start, "stop": stop, "method": lf.GradientDescent(0.02)}
    record = lf.Record.every(50, ("loss",), evaluate={"first": LOSS})
    same = in_phases(lf.Phase(n_steps=200), lf.Phase(n_steps=100), **options, record=record)
    assert same.status.tolist() == [1, 0]
    assert same.stopped_at[0] < 200
    assert np.isnan(same.loss[0, -1])
    other = in_phases(
        lf.Phase(n_steps=200), lf.Phase(n_steps=100, loss=OTHER, stop=lf.Stop(loss=0.0)), **options,
        record=record,
    )  # fmt: skip
    assert other.status.tolist() == [0, 0]
    assert (other.stopped_at == 300).all()
    assert other.n_steps.tolist() == [same.stopped_at[0] + 100, 300]
    assert np.isnan(other.loss[0, 4])  # at step 200
    assert np.isfinite(other.loss_first[:, 5:]).all()
    first = in_phases(lf.Phase(n_steps=200), **options, record=record).final
    alone = lf.train(
        NETWORK,
        OTHER,
        tuple(w[0] for w in first.weights),
        method=lf.GradientDescent(0.02),
        n_steps=100,
    )
    assert_array_equal(other.final.weights[0][0], alone.final.weights[0])
    gone = in_phases(
        lf.Phase(lf.GradientDescent(50.0), 200), lf.Phase(n_steps=100, loss=OTHER),
        **options | {"stop": None},
    )  # fmt: skip
    assert gone.status.tolist() == [2, 2]


def test_flows_in_phases():
    record = lf.Record.at_times([0.0, 1.0, 2.0, 3.5, 6.0], ("loss", "product"))
    flow = lf.GradientFlow(1e-10)
    decayed = lf.GradientFlow(1e-10, weight_decay=0.3)
    for engine in (lf.train, reference.train):
        run = in_phases(
            lf.Phase(until=2.0), lf.Phase(until=3.0, loss=OTHER), lf.Phase(decayed, until=6.0),
            method=flow, record=record, engine=engine,
        )  # fmt: skip
        state, found = START, []
        for loss, how, end, at in [
            (LOSS, flow, 2.0, [0.0, 1.0, 2.0]), (OTHER, flow, 3.0, [3.0]), (LOSS, decayed, 6.0, [3.5, 6.0])
        ]:  # fmt: skip
            own = lf.Record.at_times(at, ("loss", "product"))
            one = engine(NETWORK, loss, state, method=how, until=end, record=own)
            state = one.final
            found.append(one.product)
        assert_array_equal(run.product, np.concatenate(found)[[0, 1, 2, 4, 5]])
        assert run.time.tolist() == [0.0, 1.0, 2.0, 3.5, 6.0]


@pytest.mark.parametrize("suffix", ["npz", "nc"])
def test_files_keep_phases(tmp_path, suffix):
    run = in_phases(
        lf.Phase(n_steps=25, stop=lf.Stop(loss=1e-9)), lf.Phase(HEAVY, 35, loss=OTHER, reset=True),
        method=lf.GradientDescent(0.05),
    )  # fmt: skip
    run.save(tmp_path / f"run.{suffix}")
    again = lf.Trajectory.load(tmp_path / f"run.{suffix}")
    assert_array_equal(again.loss, run.loss)
    assert_array_equal(again.time, run.time)
    assert [repr(p) for p in again.phases] == [repr(p) for p in run.phases]
    more = [lf.train(NETWORK, OTHER, one.final, method=HEAVY, n_steps=5) for one in (run, again)]
    assert_array_equal(more[0].loss, more[1].loss)
    assert_array_equal(more[0].time, more[1].time)


def test_wide_networks_are_reduced_phase_by_phase():
    widths = (30, 60, 3)
    rng = np.random.default_rng(3)
    one, two = (
        lf.SquaredLoss.from_data(rng.standard_normal((6, 30)), rng.standard_normal((6, 3)))
        for _ in range(2)
    )
    start = make_start(widths, (2,), scale=0.1)
    method = lf.GradientDescent(0.002, momentum=[0.5, 0.9])
    phases = [lf.Phase(n_steps=30), lf.Phase(n_steps=40, loss=two), lf.Phase(n_steps=30)]
    record = lf.Record.every(10, ("loss", "singular_values", "layer_norms"))
    options = {"method": method, "phases": phases, "record": record}
    run = lf.train(lf.Dense(widths), one, start, **options)
    whole = lf.train(lf.Dense(widths), one, start, **options, reduce=False)
    assert run.reduction is not None
    for name in ("loss", "singular_values", "layer_norms"):
        assert_allclose(getattr(run, name), getattr(whole, name), rtol=1e-9, atol=1e-11)
    assert_allclose(run.final.weights[1], whole.final.weights[1], atol=1e-11)


def test_progress_counts_all_phases():
    seen = []
    in_phases(
        lf.Phase(n_steps=300), lf.Phase(n_steps=700), method=lf.GradientDescent(0.01),
        progress=lambda *at: seen.append(at),
    )  # fmt: skip
    assert seen[-1] == (1000, 1000)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def training(**options):
    return lf.Training(
        NETWORK, LOSS, lf.Start("gaussian", scale=0.3),
        phases=[lf.Phase(lf.GradientDescent(0.05), 40), lf.Phase(HEAVY, 60, loss=OTHER)],
        **options,
    )  # fmt: skip


def test_phases_are_swept():
    spec = lf.grid(
        training(record=lf.Record.every(20), stop=lf.Stop(loss=0.6)),
        {
            "phases.0.n_steps": [20, 40],
            "phases.1.method.momentum": [0.5, 0.9],
            "other": lf.Axis([0, 1], {"phases.1.loss": [OTHER, make_loss((3, 4, 2), seed=8)]}),
        },
        replicates=2,
        derived=["final_loss", "final_norm"],
    )
    assert spec.dims == ("n_steps", "momentum", "other", "seed")
    assert spec.group_shape == (2, 1, 1)
    result = lf.sweep(spec)
    for number in range(spec.n_runs):
        alone = spec.run(number)
        found = result.isel(dict(zip(spec.dims, spec.index(number), strict=True)))
        assert int(found.status) == alone.status
        n = alone.steps.size
        assert_array_equal(found.loss.values[:n], alone.loss)
        at_end = lf.observe(NETWORK, alone.loss_function, alone.final.weights, ("loss", "norm"))
        assert_array_equal(found.final_loss.values, at_end["loss"])
        assert_array_equal(found.final_norm.values, at_end["norm"])
    assert len({spec.run_id(number) for number in range(spec.n_runs)}) == spec.n_runs


@pytest.mark.parametrize(
    ("options", "exception", "message"),
    [
        ({"phases": []}, ValueError, "phases must be at least one, got none"),
        ({"phases": 3}, TypeError, "phases must be"),
        ({"phases": [3]}, TypeError, r"phases\[0\] must be"),
        ({"phases": [lf.Phase(n_steps=3)]}, ValueError, r"phases\[0\] must have a method, or the training"),
        ({"phases": [lf.Phase(HEAVY, 3)], "n_steps": 3}, ValueError, "n_steps must be None with phases"),
        ({"phases": [lf.Phase(HEAVY, until=3.0)]}, TypeError, r"phases\[0\] must be a training: until must be"),
        ({"phases": [lf.Phase(HEAVY, 3), lf.Phase(lf.GradientFlow(), until=1.0)]}, ValueError,
         "phases must all take steps, or all be flows in the same kind of time"),
        ({"phases": [lf.Phase(until=2.0), lf.Phase(until=1.0)], "method": lf.GradientFlow(),
          "record": lf.Record.geomspace(3)}, ValueError, r"phases\[1\].until must be >= 2"),
        ({"phases": [lf.Phase(HEAVY, 3, loss=make_loss((2, 2)))]}, ValueError, r"phases\[0\] must be a training: loss"),
        ({"phases": [lf.Phase(HEAVY, 3), lf.Phase(lf.GradientDescent([0.1] * 3), 3)],
          "start": tuple(np.stack([w, w]) for w in START)}, ValueError, r"phases\[1\].method \(3,\)"),
    ],
)  # fmt: skip
def test_refused(options, exception, message):
    arguments = {"start": START, "record": lf.Record.geomspace(3)} | options
    for engine in (lf.train, reference.train):
        with pytest.raises(exception, match=message):
            engine(NETWORK, LOSS, **arguments)


def test_what_a_phase_itself_refuses():
    with pytest.raises(
        ValueError, match="n_steps or until must be given, one of them, got n_steps None"
    ):
        lf.Phase(HEAVY)
    with pytest.raises(ValueError, match=r"phases\[1\] must have no run axes, got \(2,\)"):
        lf.Training(
            NETWORK, LOSS, lf.Start("gaussian"),
            phases=[lf.Phase(HEAVY, 3), lf.Phase(lf.GradientDescent([0.1, 0.2]), 3)],
        )  # fmt: skip
    run = in_phases(lf.Phase(HEAVY, 3))
    with pytest.raises(ValueError, match="needs a training of one phase, got 1"):
        rank_dynamics.imbalance_drift(run)
