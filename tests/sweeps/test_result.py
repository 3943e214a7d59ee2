"""The dataset that a sweep returns: dimensions, coordinates, records, padding; and what it takes."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from binary_problems import make_binary, make_data
from numpy.testing import assert_array_equal
from sweep_plans import (
    FINALS,
    SMALL,
    alone,
    assert_run,
    at_end,
    axes_of,
    ended,
    recorded,
    squared,
    training_of,
)
from sweep_problems import largest, sweep

import linnet_fast as lf

# -- the form of the result ------------------------------------------------------------------------


def test_nothing_swept():
    training = training_of(SMALL)
    data = sweep(lf.grid(training, {}, rng=4))
    assert data.sizes == {
        "step": 3,
        "mode": 2,
        "out": 2,
        "in": 3,
        "layer": 2,
        "layer_pair": 1,
        "mode_of_layer": 3,
    } | {name: size for name, size in data.sizes.items() if name.startswith("weights_")}
    assert_run(data, (), recorded(alone(SMALL, 4)) | ended(alone(SMALL, 4)))
    bare = sweep(lf.grid(training_of(SMALL | {"record": None}), {}, rng=4))
    assert dict(bare.sizes) == {}
    assert set(bare.data_vars) == {"final_loss", "status", "stopped_at"}
    assert bare["final_loss"].item() == at_end(SMALL, ["loss"], 4)[1]["loss"]


@pytest.mark.parametrize("replicates", [1, 4])
def test_nothing_but_replicates(replicates):
    data = sweep(lf.grid(training_of(SMALL | {"record": None}), {}, replicates=replicates, rng=4))
    assert dict(data.sizes) == {"seed": replicates}
    assert data["seed"].values.tolist() == list(range(replicates))
    for seed in range(replicates):
        assert data["final_loss"].values[seed] == at_end(SMALL, ["loss"], 4, seed)[1]["loss"]


def test_replicates_of_smaller_sweeps_are_those_of_larger_ones():
    training = training_of(SMALL | {"record": None})
    few = sweep(lf.grid(training, {"start.scale": [0.1, 0.5]}, replicates=2))
    many = sweep(lf.grid(training, {"start.scale": [0.1, 0.3, 0.5]}, replicates=5))
    assert_array_equal(few["final_loss"], many["final_loss"].sel(scale=[0.1, 0.5], seed=[0, 1]))


def test_common_seeds_are_the_same_start_at_all_combinations():
    training = training_of(SMALL | {"record": lf.Record.at([0], ("weights",))})
    for common in (True, False):
        data = sweep(
            lf.grid(training, {"method.step_size": [0.1, 0.2]}, replicates=3, common_seeds=common)
        )
        weights = data["weights_0"].values[:, :, 0]
        assert (weights[0] == weights[1]).all() == common
        assert len(np.unique(weights.reshape(6, -1), axis=0)) == (3 if common else 6)


def test_results_do_not_depend_on_chunks_or_threads_or_the_rest_of_the_grid():
    plan = SMALL | {"loss": squared((3, 2))}
    swept = {"widths": [(3, 4, 2), (3, 5, 2)], "scale": [0.1, 0.4, 0.5], "step": [0.05, 1e30]}
    spec = lf.grid(training_of(plan), axes_of(swept), replicates=3)
    whole = sweep(spec)
    for chunk, threads in ((1, 1), (2, 2), (5, 1), (7, 3), (100, 2)):
        assert whole.identical(
            sweep(spec, chunk_runs=chunk, n_threads=threads).assign_attrs(whole.attrs)
        )
    part = sweep(lf.grid(training_of(plan), axes_of(swept | {"scale": [0.4]}), replicates=2))
    picked = whole.isel(of_scale=[1], seed=[0, 1])
    for name in part.data_vars:
        assert_array_equal(part[name].values, picked[name].values, err_msg=name)


def test_mixed_shapes_are_filled_up():
    plan = SMALL | {
        "record": lf.Record.every(6, ("singular_values", "layer_norms", "imbalance", "weights"))
    }
    swept = {"widths": [(3, 2), (3, 1, 2), (3, 4, 5, 2)]}
    data = sweep(
        lf.grid(training_of(plan), axes_of(swept), derived=("final_layer_norms", "learned_rank"))
    )
    assert data["layer_norms"].shape == (3, 3, 3)
    assert data["imbalance"].shape == (3, 3, 2)
    assert data["singular_values"].shape == (3, 3, 2)
    assert data["weights_0"].shape == (3, 3, 4, 3)
    assert data["weights_2"].shape == (3, 3, 2, 5)
    assert np.isnan(data["layer_norms"].values[0, :, 1:]).all()
    assert not np.isnan(data["layer_norms"].values[0, :, 0]).any()
    assert np.isnan(data["imbalance"].values[0]).all()
    assert np.isnan(data["weights_2"].values[:2]).all()
    assert np.isnan(data["final_layer_norms"].values[1]).tolist() == [False, False, True]


def test_data_of_other_sizes_are_filled_up():
    """The ends of a dense network follow its data; results are as large as the largest."""
    losses = [squared((3, 2)), squared((2, 4)), squared((5, 1))]
    record = lf.Record.every(6, ("singular_values", "product"))
    training = training_of(SMALL | {"record": record})
    data = sweep(lf.grid(training, {"loss": losses}, derived=("final_product",), replicates=2))
    assert data["product"].shape == (3, 2, 3, 4, 5)
    assert data["final_product"].shape == (3, 2, 4, 5)
    for i, loss in enumerate(losses):
        own = SMALL | {"loss": loss, "widths": (loss.n_inputs, 4, loss.n_outputs), "record": record}
        for seed in range(2):
            run, end = at_end(own, ["product"], 0, seed)
            expected = {"final_product": end["product"]} | recorded(run) | ended(run)
            assert_run(data, (i, seed), expected)


def test_records_at_the_same_steps_share_an_axis():
    training = training_of(SMALL | {"record": lf.Record.at([0, 4, 12], ("loss",))})
    data = sweep(lf.grid(training, {"start.scale": [0.1, 0.2], "network.hidden": [2, 3]}))
    assert data["loss"].dims == ("hidden", "scale", "step")
    assert data["step"].values.tolist() == [0, 4, 12]
    longer = sweep(lf.grid(training, {"n_steps": [12, 30]}))
    assert longer["loss"].dims == ("n_steps", "step")


def test_records_at_other_steps_have_their_own():
    training = training_of(SMALL | {"record": lf.Record.every(4, ("loss",))})
    lengths = [3, 12, 9]
    data = sweep(lf.grid(training, {"n_steps": lengths, "start.scale": [0.1, 0.2]}, replicates=2))
    assert data["loss"].dims == ("n_steps", "scale", "seed", "record")
    assert data["step"].dims == ("n_steps", "record")
    assert data["step"].dtype == np.int64
    assert data["step"].values.tolist() == [[0, -1, -1, -1], [0, 4, 8, 12], [0, 4, 8, -1]]
    assert "time" not in data.coords
    assert_array_equal(np.isnan(data["loss"].values[:, 0, 0]), data["step"].values < 0)


def test_the_axis_of_records_varies_with_what_changes_it_only():
    """Not with other dimensions, even those that change the shape of networks."""
    training = training_of(SMALL | {"record": lf.Record.every(4, ("loss",))})
    data = sweep(lf.grid(training, {"network.hidden": [2, 3], "n_steps": [4, 8]}))
    assert data["step"].dims == ("n_steps", "record")
    assert data["step"].values.tolist() == [[0, 4, -1], [0, 4, 8]]


def test_the_axis_of_records_of_pairs():
    training = training_of(SMALL | {"record": lf.Record.every(4, ("loss",))})
    data = sweep(lf.paired(training, {"n_steps": [4, 8, 4], "start.scale": [0.1, 0.2, 0.3]}))
    assert data["step"].dims == ("run", "record")
    assert data["step"].values.tolist() == [[0, 4, -1], [0, 4, 8], [0, 4, -1]]


def test_the_axis_of_records_of_flows():
    plan = {
        "kind": "gaussian",
        "scale": 0.5,
        "widths": (3, 4, 2),
        "loss": squared((3, 2)),
        "until": 2.0,
    }
    training = training_of(plan | {"record": lf.Record.at_times([0.0, 0.5], ("loss",))})
    data = sweep(lf.grid(training, {"until": [1.0, 2.0]}))
    assert data["loss"].dims == ("until", "time")
    assert data["time"].values.tolist() == [0.0, 0.5]
    records = [lf.Record.at_times([0.5], ("loss",)), training.record]
    data = sweep(lf.grid(training, {"when": lf.Axis(["late", "both"], {"record": records})}))
    assert data["loss"].dims == ("when", "record")
    assert_array_equal(data["time"].values, [[0.5, np.nan], [0.0, 0.5]])
    assert_array_equal(np.isnan(data["loss"].values), [[False, True], [False, False]])


def test_flows_and_descents_in_one_sweep():
    """Steps and times stand side by side: each is missing where the other is."""
    training = training_of(SMALL | {"record": lf.Record.geomspace(4, ("loss",))})
    flow = {"method": lf.GradientFlow(), "n_steps": None, "until": 1.0}
    descent = {"method": lf.GradientDescent(0.05), "n_steps": 12, "until": None}
    how = lf.Axis(["descent", "flow"], {key: [descent[key], flow[key]] for key in flow})
    data = sweep(
        lf.grid(
            training,
            {"how": how, "start.scale": [0.1, 0.5]},
            derived="final_loss",
            keep_records=True,
        )
    )
    assert data["loss"].dims == ("how", "scale", "record")
    assert data["step"].values.tolist() == [lf.Record.geomspace(4).steps(0, 12).tolist(), [-1] * 4]
    times = lf.Record.geomspace(4).times(0.0, 1.0)
    assert_array_equal(data["time"].values, [[np.nan] * 4, times])
    assert data["stopped_at"].values.tolist() == [[12.0, 12.0], [1.0, 1.0]]
    for i, scale in enumerate([0.1, 0.5]):
        plan = SMALL | {"scale": scale, "record": training.record}
        assert_array_equal(data["loss"].values[0, i], alone(plan).loss)
        del plan["n_steps"], plan["step"]
        assert_array_equal(data["loss"].values[1, i], alone(plan | {"until": 1.0}).loss)


def test_records_are_left_out_on_demand():
    training = training_of(SMALL)
    data = sweep(lf.grid(training, {"start.scale": [0.1]}, keep_records=False))
    assert set(data.data_vars) == {"final_loss", "status", "stopped_at"}
    assert "step" not in data.coords
    both = sweep(lf.grid(training, {"start.scale": [0.1]}, keep_records=True, derived="final_loss"))
    assert set(both.data_vars) == {*data.data_vars, *recorded(alone(SMALL))}
    assert_array_equal(both["final_loss"], data["final_loss"])


def test_coordinates_are_all_that_varies():
    training = training_of(SMALL | {"record": None})
    data = sweep(
        lf.grid(
            training,
            {
                "start.scale": [0.1, 0.5],
                "network.hidden": np.array([3, 2]),
                "depth": lf.Axis(
                    ["shallow", "deep"],
                    {
                        "network.n_layers": [2, 3],
                        "n_steps": [9, 5],
                        "method.step_size": np.array([0.1, 0.2]),
                    },
                ),
            },
            replicates=2,
        )
    )
    assert data["scale"].values.tolist() == [0.1, 0.5]
    assert data["hidden"].values.tolist() == [3, 2]
    assert data["depth"].values.tolist() == ["shallow", "deep"]
    assert data["seed"].values.tolist() == [0, 1]
    for name, values in (("n_layers", [2, 3]), ("n_steps", [9, 5]), ("step_size", [0.1, 0.2])):
        assert data[name].dims == ("depth",)
        assert data[name].values.tolist() == values


@pytest.mark.parametrize("make", [list, np.array])
def test_parameters_of_pairs_are_coordinates(make):
    training = training_of(SMALL | {"record": None, "stop": 0.1, "scale": 1.0})
    parameters = {
        "start.scale": make([0.1, 0.2]),
        "n_steps": make([3, 4]),
        "network.hidden": make([5, 6]),
        "stop.loss": make([1e-3, 1e-4]),
        "dtype": ["float32", "float64"],
    }
    data = sweep(lf.paired(training, parameters))
    for name, values in parameters.items():
        assert data[name.split(".")[-1]].dims == ("run",)
        assert data[name.split(".")[-1]].values.tolist() == list(values)


def test_parameters_with_the_same_last_name_are_both_coordinates():
    loss = make_binary("gaussian", 3)
    training = lf.Training(lf.Dense((3, 1)), loss, lf.Start("gaussian"), lf.GradientDescent(0.1), 3)
    pairs = {"start.scale": [0.1, 0.2], "loss.law.scale": [1.0, 2.0]}
    for spec in (
        lf.paired(training, pairs),
        lf.grid(training, {"both": lf.Axis(["a", "b"], pairs)}),
    ):
        data = sweep(spec)
        found = [c.values.tolist() for name, c in data.coords.items() if name not in spec.dims]
        assert sorted(found) == [[0.1, 0.2], [1.0, 2.0]]


def test_labels_of_mappings_are_coordinates_whatever_they_stand_for():
    training = training_of(SMALL | {"record": None})
    networks = {"narrow": lf.Dense((3, 1, 2)), "wide": lf.Dense((3, 6, 2))}
    parameters = {
        "network": networks,
        "n_steps": {"short": 3, "long": 9},
        "start.scale": {"a": 0.5},
    }
    data = sweep(lf.grid(training, parameters))
    assert data["final_loss"].dims == ("network", "n_steps", "scale")
    for name, values in zip(data["final_loss"].dims, parameters.values(), strict=True):
        assert data[name].values.tolist() == list(values)
    for (i, network), (j, n_steps) in itertools.product(
        enumerate(networks.values()), enumerate([3, 9])
    ):
        own = SMALL | {"widths": network.widths, "n_steps": n_steps}
        assert data["final_loss"].values[i, j, 0] == at_end(own, ["loss"])[1]["loss"]


def test_dimensions_named_in_full_have_their_labels_only():
    loss = make_binary("gaussian", 3)
    training = lf.Training(lf.Dense((3, 1)), loss, lf.Start("gaussian"), lf.GradientDescent(0.1), 3)
    data = sweep(lf.grid(training, {"start.scale": [0.1, 0.2], "loss.law.scale": [1.0, 2.0]}))
    assert set(data.coords) == {"start_scale", "loss_law_scale"}
    assert data["start_scale"].values.tolist() == [0.1, 0.2]


@pytest.mark.parametrize("how", ["paired", "axis"])
def test_coordinates_and_results_of_one_name_do_not_meet(how):
    plan = SMALL | {"record": lf.Record.at([12], ("loss",)), "stop": 0.0}
    limits = [1e-3, 0.9]
    if how == "paired":
        spec = lf.paired(training_of(plan), {"stop.loss": limits}, common_seeds=True)
    else:
        spec = lf.grid(
            training_of(plan), {"limit": lf.Axis(["low", "high"], {"stop.loss": limits})}
        )
    data = sweep(spec)
    for i, limit in enumerate(limits):
        assert_run(
            data,
            (i,),
            recorded(alone(plan | {"stop": limit})) | ended(alone(plan | {"stop": limit})),
        )


def test_dimensions_and_results_of_one_name_are_refused():
    plan = SMALL | {"record": lf.Record.at([12], ("loss",)), "stop": 0.0}
    with pytest.raises(ValueError, match="loss"):
        sweep(lf.grid(training_of(plan), {"stop.loss": [1e-3, 0.9]}))
    with pytest.raises(ValueError, match="scale"):
        sweep(lf.grid(training_of(SMALL), {"start.scale": [0.1, 0.2]}, derived={"scale": largest}))


# -- what it takes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("replicates", [2**36, 2**47])
def test_results_that_do_not_fit_are_refused_before_any_work(replicates):
    """Also before the labels of their runs are made."""
    spec = lf.grid(training_of(SMALL), {"start.scale": [0.1]}, replicates=replicates)
    with pytest.raises(
        MemoryError, match=r"the result needs [\d,]+ bytes but [\d,]+ are available; give a store"
    ):
        sweep(spec)


def test_progress_is_told():
    seen = []
    spec = lf.grid(training_of(SMALL), {"method.step_size": [0.05, 1e30]}, replicates=8)
    data = lf.sweep(spec, progress=seen.append, chunk_runs=4)
    assert seen[-1].n_runs == seen[-1].n_done == 16
    assert seen[-1].n_diverged == (data["status"] == lf.Status.DIVERGED).sum() == 8
    assert all(a.n_done <= b.n_done for a, b in itertools.pairwise(seen))
    assert all(0 <= p.n_done <= 16 and p.seconds >= 0 and p.seconds_left >= 0 for p in seen)
    assert seen[-1].seconds_left == 0
    assert seen[-1].runs_per_second > 0
    with pytest.raises(TypeError, match="progress must be a bool or a callable, got int"):
        lf.sweep(spec, progress=1)


def test_a_progress_that_fails_ends_the_sweep():
    def stop(_state):
        raise LookupError

    with pytest.raises(LookupError):
        lf.sweep(lf.grid(training_of(SMALL), {}, replicates=8), progress=stop, chunk_runs=2)


@pytest.mark.parametrize(
    ("swept", "options"),
    [
        ({"scale": [0.1, 0.5]}, {}),
        ({"widths": [(3, 2), (3, 5, 2)], "scale": [0.1, 0.5]}, {"derived": FINALS, "keep_records": True}),
        ({"widths": [(3, 2), (3, 5, 2)]}, {"derived": ("learned_rank", "learning_times"), "keep_records": False}),
        ({"n_steps": [0, 7, 12], "dtype": ["float32", "float64"]}, {}),
    ],
)  # fmt: skip
def test_estimates_count_runs_groups_and_bytes(swept, options):
    spec = lf.grid(training_of(SMALL), axes_of(swept), replicates=5, **options)
    estimate = lf.estimate_sweep(spec, n_threads=1)
    data = sweep(spec)
    assert estimate.n_runs == spec.n_runs == data["status"].size
    assert estimate.n_bytes == sum(variable.nbytes for variable in data.data_vars.values())
    assert estimate.n_threads == 1
    assert estimate.seconds > 0
    assert sum(group.n_runs for group in estimate.groups) == spec.n_runs
    low, high = estimate.seconds_range
    assert 0 < low < estimate.seconds < high
    assert 0 < sum(group.seconds for group in estimate.groups) < high
    assert estimate.chunk_runs >= 1
    shapes = {(w["widths"] if isinstance(w, dict) else w) for w in swept.get("widths", [(3, 4, 2)])}
    names = {group.network for group in estimate.groups}
    assert names == {lf.Dense(shape).spec for shape in shapes}
    choices = [
        len(set(map(str, v))) for word, v in swept.items() if word in ("widths", "n_steps", "dtype")
    ]
    assert len(estimate.groups) == np.prod(choices, dtype=int)


def test_estimates_of_flows_and_of_long_trainings():
    plan = {
        "kind": "gaussian",
        "scale": 0.5,
        "widths": (3, 4, 2),
        "loss": squared((3, 2)),
        "until": 1.0,
    }
    flow = lf.estimate_sweep(lf.grid(training_of(plan), {}, replicates=3), n_threads=1)
    assert (flow.n_runs, flow.n_bytes) == (3, 3 * (8 + 8 + 1))
    long = training_of(SMALL | {"record": None, "n_steps": 10**12})
    estimate = lf.estimate_sweep(lf.grid(long, {}, replicates=10**6), n_threads=1)
    assert estimate.n_bytes == 17 * 10**6
    assert estimate.seconds > 10**9
    assert estimate.chunk_runs == 1
    with pytest.raises(TypeError, match="spec must be a SweepSpec, got Training"):
        lf.estimate_sweep(long)
    with pytest.raises(ValueError, match="n_threads must be >= 1, got 0"):
        lf.estimate_sweep(lf.grid(long, {}), n_threads=0)


def test_samples_may_be_none_of_the_library():
    """Data given as arrays are swept as any other part of a loss."""
    x, y = make_data(6, 3)
    training = lf.Training(
        lf.Dense((3, 2, 1)), lf.LogisticLoss(x, y), lf.Start("gaussian"), lf.GradientDescent(0.1), 5
    )
    data = sweep(lf.grid(training, {"loss.labels": [y, -y]}, replicates=2, derived="final_loss"))
    for i, labels in enumerate([y, -y]):
        for seed in range(2):
            plan = {
                "kind": "gaussian",
                "scale": 1.0,
                "widths": (3, 2, 1),
                "n_steps": 5,
                "step": 0.1,
            }
            plan["loss"] = lf.LogisticLoss(x, labels)
            assert data["final_loss"].values[i, seed] == at_end(plan, ["loss"], 0, seed)[1]["loss"]


def test_estimates_see_that_runs_stop_and_that_calls_cost():
    # Of these 200,000 steps each run takes some hundred; and a call costs as much as its ten runs.
    loss = squared((3, 2))
    for n_steps, stop, replicates in (
        (200_000, lf.Stop(loss=0.9 * loss.value(np.zeros((2, 3)))), 500),
        (50, None, 5),
    ):
        training = lf.Training(
            lf.Dense((3, 4, 2)),
            loss,
            lf.Start("gaussian", 0.1),
            lf.GradientDescent(0.01),
            n_steps=n_steps,
            stop=stop,
        )
        spec = lf.grid(training, {"start.scale": [0.1, 0.2]}, replicates=replicates)
        estimate = lf.estimate_sweep(spec, n_threads=1)
        seconds = []
        for _ in range(2):
            begin = time.perf_counter()
            lf.sweep(spec, progress=False, n_threads=1)
            seconds.append(time.perf_counter() - begin)
        low, high = estimate.seconds_range
        assert low / 4 < min(seconds) < 4 * high  # others may have the processors at any time
        assert estimate.seconds_spent < 20
        assert estimate.chunk_runs >= spec.n_runs / 4
