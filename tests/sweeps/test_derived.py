"""Functions that a sweep derives results by: what they see, what they may return, how they fail."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sweep_plans import SMALL, alone, assert_run, at_end, axes_of, ended, runs_of, training_of
from sweep_problems import largest, sweep

import linnet_fast as lf
from linnet_fast import rank_dynamics


def test_functions_of_trajectories():
    plan = SMALL | {"record": lf.Record.every(4, ("loss", "singular_values")), "stop": 0.0}
    swept = {"scale": [0.1, 0.5], "stop": [0.0, 0.9], "step": [0.05, 1e30]}
    derived = {
        "top": largest,
        "named": (largest, ("when",)),
        "fell": lambda t: t.loss[:, 1] < t.loss[:, 0],
        "count": lambda t: np.isfinite(t.loss).sum(axis=-1),
        "small": lambda t: np.isfinite(t.loss).sum(axis=-1).astype(np.uint8),
        "single": lambda t: t.loss[:, 0].astype(np.float32),
        "pairs": (lambda t: np.stack([t.loss[:, :2], t.loss[:, 1:3]], axis=1), ["a", "b"]),
        "listed": lambda t: [0.5] * t.run_shape[0],
        "end": "final_singular_values",
        "again": ("final_singular_values", ("value",)),
    }
    spec = lf.grid(training_of(plan), axes_of(swept), derived=derived, keep_records=False)
    data = sweep(spec, chunk_runs=3)
    inner = {name: data[name].dims[len(spec.dims) :] for name in derived}
    assert inner == {
        "top": ("top_0",),
        "named": ("when",),
        "fell": (),
        "count": (),
        "small": (),
        "single": (),
        "pairs": ("a", "b"),
        "listed": (),
        "end": ("mode",),
        "again": ("value",),
    }
    kinds = {name: str(data[name].dtype) for name in derived}
    assert kinds == dict.fromkeys(derived, "float64") | {
        "fell": "int8",
        "count": "int64",
        "small": "int64",
    }
    for index, own, stream in runs_of(spec, plan, swept):
        run, end = at_end(own, ["singular_values"], 0, stream)
        loss = run.loss
        with np.errstate(invalid="ignore"):
            fell = loss[1] < loss[0]
        expected = {
            "top": run.singular_values[:, 0],
            "named": run.singular_values[:, 0],
            "fell": fell,
            "count": np.isfinite(loss).sum(),
            "small": np.isfinite(loss).sum(),
            "single": np.float32(loss[0]),
            "pairs": [loss[:2], loss[1:3]],
            "listed": 0.5,
            "end": end["singular_values"],
            "again": end["singular_values"],
        }
        assert_run(data, index, expected | ended(run))


def test_functions_see_batches_with_one_run_axis():
    seen = []

    def spy(trajectory):
        seen.append(trajectory.run_shape)
        assert trajectory.observables.keys() == {"loss", "singular_values"}
        return trajectory.stopped_at

    data = sweep(
        lf.grid(
            training_of(SMALL | {"record": None}),
            {"network.hidden": [2, 5]},
            replicates=6,
            derived={"f": spy},
        ),
        chunk_runs=12,
    )
    assert seen == [(1,), (1,), (6,), (6,)]  # a run of each group for the form of the result
    assert data["f"].values.tolist() == [[12] * 6] * 2


def test_functions_by_import_path():
    spec = lf.grid(
        training_of(SMALL),
        {"start.scale": [0.1, 0.5]},
        derived={"least": "linnet_fast.rank_dynamics:learning_times"},
        keep_records=False,
    )
    data = sweep(spec)
    for i, scale in enumerate([0.1, 0.5]):
        times = rank_dynamics.learning_times(alone(SMALL | {"scale": scale}))
        assert_array_equal(data["least"].values[i], times)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda _t: 1.0, r"derived\['f'\] must return numbers of shape \(n_runs, \.\.\.\), n_runs = 1, got float64 of shape \(\)"),
        (lambda t: t.loss[:, :, None].swapaxes(0, 1), r"derived\['f'\] must return .* got float64 of shape \(3, 1, 1\)"),
        (lambda t: np.zeros(t.run_shape[0] + 1), r"derived\['f'\] must return .* got float64 of shape \(2,\)"),
        (lambda t: ["a"] * t.run_shape[0], r"derived\['f'\] must return numbers .* got <U1"),
        (lambda _t: None, r"derived\['f'\] must return numbers .* got object of shape \(\)"),
        (lambda t: t.loss[:, 0] + 1j, r"derived\['f'\] must return numbers .* got complex128"),
    ],
)  # fmt: skip
def test_results_of_other_shapes_are_refused_by_name(function, message):
    with pytest.raises(ValueError, match=message):
        sweep(lf.grid(training_of(SMALL), {}, derived={"f": function}))


def test_a_result_with_other_axes_in_other_groups_is_refused():
    def f(trajectory):
        n_runs = trajectory.run_shape[0]
        return np.zeros((n_runs, 2) if trajectory.network.n_layers == 2 else (n_runs, 2, 2))

    spec = lf.grid(training_of(SMALL), {"network.n_layers": [2, 3]}, derived={"f": f})
    with pytest.raises(ValueError, match="f must have equally many axes for all runs"):
        sweep(spec)
    names = lf.grid(training_of(SMALL), {}, derived={"f": (largest, ("a", "b"))})
    with pytest.raises(
        ValueError, match=r"derived\['f'\] must have 1 names of axes, got \('a', 'b'\)"
    ):
        sweep(names)


def later(first, then):
    """Return a function whose result differs where the first record alone is not NaN."""

    def f(trajectory):
        return (first if np.isnan(trajectory.loss[:, -1]).any() else then)(trajectory.run_shape[0])

    return f


@pytest.mark.parametrize(
    "function",
    [
        later(lambda n: np.zeros(n, np.int64), lambda n: np.full(n, 0.5)),
        later(lambda n: np.zeros(n, np.bool_), lambda n: np.full(n, 300)),
        later(lambda n: np.zeros((n, 2)), lambda n: np.zeros((n, 3))),
        later(lambda n: np.zeros((n, 2)), np.zeros),
    ],
    ids=["integers, then floats", "bools, then integers", "longer", "fewer axes"],
)
def test_a_result_that_does_not_fit_its_form_is_refused_by_name(function):
    with pytest.raises(ValueError, match=r"\bf\b.*must"):
        sweep(lf.grid(training_of(SMALL | {"n_steps": 10}), {}, derived={"f": function}))


def test_a_function_that_fails_says_which_and_why_it_might():
    def f(trajectory):
        if np.isnan(trajectory.loss).any():
            msg = "nothing but numbers, please"
            raise FloatingPointError(msg)
        return trajectory.loss[:, -1]

    with pytest.raises(FloatingPointError, match="nothing but numbers, please") as caught:
        sweep(lf.grid(training_of(SMALL), {}, derived={"odd": f}))
    assert any("derived['odd']" in note and "NaN" in note for note in caught.value.__notes__)


def test_interrupts_in_functions_get_through():
    def f(_trajectory):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(lf.grid(training_of(SMALL), {}, derived={"f": f}))
