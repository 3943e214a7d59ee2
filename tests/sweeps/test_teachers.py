"""Sweeps over teachers: each run draws its data, by seeds that are axes, tied or held."""

from __future__ import annotations

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from support import few
from sweep_files import refused

import linnet_fast as lf
from linnet_fast import plot
from linnet_fast._base import machine
from linnet_fast.cli import main, sweep_table
from linnet_fast.sweeps.batch import Batch
from linnet_fast.sweeps.store import chunk_shape


def of(**options):
    options = {"n_inputs": 6, "n_samples": 8} | options
    return lf.Teacher("sparse", n_nonzero=2, noise=0.1, input_cov=("wishart", 12), **options)


TEACHER = of()
RECORD = lf.Record.every(10, ("loss", "product"), evaluate={"risk": "population"})


def training(network=None, **options):
    options = {
        "loss": TEACHER,
        "start": lf.Start("gaussian", 0.3),
        "method": lf.GradientDescent(0.05),
        "n_steps": 20,
        "record": RECORD,
    } | options
    return lf.Training(network or lf.Diagonal(6, 2), **options)


def swept(spec, **options):
    return lf.sweep(spec, progress=False, **options)


def by_hand(spec, number, teacher, seed, *, start=0, scale=0.3, **options):
    """Train one run of data drawn by hand."""
    network = spec.training_at(spec.index(number)[: len(spec.axes)]).network
    weights = lf.initialization.gaussian(network, scale=scale, rng=spec.rng, streams=start)
    risk = teacher.population.loss(seed, rng=spec.rng)
    options = {"method": lf.GradientDescent(0.05), "n_steps": 20} | options
    record = lf.Record.every(10, ("loss", "product"), evaluate={"risk": risk})
    return lf.train(network, teacher.loss(seed, rng=spec.rng), weights, record=record, **options)


@pytest.mark.parametrize("rng", few([0, 5], 1))
def test_an_entry_is_the_run_of_a_teacher_drawn_by_hand(rng):
    spec = lf.grid(
        training(),
        {
            "start.scale": [0.1, 0.5],
            "loss.noise": [0.0, 0.3],
            "loss.n_samples": [4, 8],
            "network.n_layers": [2],
            "data_seed": [9, 2, 70],
        },
        rng=rng,
    )
    data = swept(spec)
    assert data["loss_risk"].dims == (
        "n_samples",
        "n_layers",
        "scale",
        "noise",
        "data_seed",
        "step",
    )
    for number in (0, 10, 17, 23):
        labels = {
            name: axis.labels[i].item()
            for (name, axis), i in zip(spec.axes.items(), spec.index(number), strict=True)
        }
        teacher = lf.Teacher(
            "sparse",
            n_inputs=6,
            n_nonzero=2,
            noise=labels["noise"],
            n_samples=labels["n_samples"],
            input_cov=("wishart", 12),
        )
        alone = spec.run(number)
        hand = by_hand(spec, number, teacher, labels["data_seed"], scale=labels["scale"])
        for name in ("loss", "loss_risk", "product"):
            assert_array_equal(data[name].sel(labels).values, getattr(hand, name))
            assert_array_equal(getattr(alone, name), getattr(hand, name))
        apart = hand.product[-1] - teacher.draw(labels["data_seed"], rng=rng)
        cov = teacher.population.loss(labels["data_seed"], rng=rng).input_cov
        risk = 0.5 * np.sum((apart @ cov) * apart) + 0.5 * labels["noise"] ** 2
        assert_allclose(hand.loss_risk[-1], risk, rtol=1e-12)


def test_seeds_are_axes_tied_or_held():
    batches = lf.GradientDescent(0.05, batches=lf.Batches(3))

    def losses(parameters, replicates=None, **options):
        spec = lf.grid(training(method=batches, **options), parameters, replicates=replicates)
        return swept(spec)["loss"].values[..., -1]

    tied = losses({}, 3)  # everything is drawn anew
    held = losses({}, 3, data_seed=1, batch_seed=2)
    assert len(np.unique(tied)) == len(np.unique(held)) == 3
    both = losses({"data_seed": [0, 1, 2]}, 3)
    assert_array_equal(np.diagonal(both), tied)
    assert len(np.unique(both)) == 9
    batch = losses({"batch_seed": [2, 0]}, 3, data_seed=1)
    assert_array_equal(batch[0], held)
    assert (batch[0] != batch[1])[1:].all()
    following = losses({"data_seed": [0, 1, 2]}, batch_seed="data_seed")
    still = losses({"data_seed": [0, 1, 2]})  # batches are those of seed 0, as is the start
    assert following[0] == still[0]
    assert (following != still)[1:].all()


def test_data_seeds_are_seeds():
    """They come last, and tables and pictures take medians over them."""
    spec = lf.grid(training(), {"data_seed": [0, 1, 2], "start.scale": [0.1, 0.5]}, replicates=2)
    assert spec.dims == ("scale", "data_seed", "seed")
    data = swept(spec)
    text = sweep_table.table(data, "loss_risk")
    assert "median over 3 data_seeds and 2 seeds" in text
    median = np.median(data["loss_risk"].values[0, ..., -1])
    assert f"{median:.4g}" in text
    axes = plot.curves(data, "loss_risk", x="scale", select={"step": 20})
    assert len(axes.lines) == 1


def test_bits_do_not_depend_on_who_trains(tmp_path, monkeypatch):
    spec = lf.grid(training(), {"start.scale": [0.1, 0.5], "data_seed": range(7)})
    expected = swept(spec, n_threads=1, chunk_runs=14)
    for options in ({"n_threads": 3}, {"chunk_runs": 1}, {"chunk_runs": 3}):
        assert_array_equal(swept(spec, **options)["loss_risk"], expected["loss_risk"])
    with ThreadPoolExecutor(2) as pool:
        assert_array_equal(swept(spec, executor=pool)["loss"], expected["loss"])
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        data = swept(spec, store=tmp_path / "runs.zarr", executor=pool, chunk_runs=4)
        assert_array_equal(data["product"], expected["product"])
    for n in (1, 3):
        monkeypatch.setattr(machine, "n_threads", lambda n=n: n)
        loss = TEACHER.loss(np.arange(7))
        assert_array_equal(loss.cross_cov[5], TEACHER.loss(5).cross_cov)


def test_a_store_keeps_the_recipe(tmp_path):
    teachers = {"one": TEACHER, "other": lf.Teacher("given", matrix=np.arange(6.0)[None])}
    spec = lf.grid(
        training(),
        {
            "teacher": lf.Axis(list(teachers), {"loss": list(teachers.values())}),
            "data_seed": [0, 4],
        },
        derived="final_loss_risk",
    )
    store = tmp_path / "runs.zarr"
    first = swept(
        lf.grid(
            training(),
            {
                "teacher": lf.Axis(list(teachers), {"loss": list(teachers.values())}),
                "data_seed": [0],
            },
            derived="final_loss_risk",
        ),
        store=store,
    )
    again = lf.open_spec(store)
    assert repr(again.training.loss) == repr(TEACHER)
    assert again.training.record.evaluate["risk"].text == "population"
    grown = swept(spec, store=store, extend=True)
    assert_array_equal(grown["loss"].values[:, :1], first["loss"])
    assert lf.open_spec(store).id == spec.id
    assert spec.run_id(0) != spec.run_id(1)
    for other in (
        training(loss=lf.Teacher("sparse", n_inputs=6, n_nonzero=2, n_samples=9, noise=0.1)),
        training(data_seed=0),
        training(record=lf.Record.every(10, ("loss", "product"))),
    ):
        assert lf.grid(other, {}).id != lf.grid(training(), {}).id
    said = json.loads(first.attrs["spec"])["training"]
    assert said["loss"]["kind"] == "sparse"
    assert "data_seed" not in said


def test_tasks_in_phases_and_as_tests():
    """Another task is another teacher of the same seed; samples of other numbers are other ones."""
    second = lf.Teacher("gaussian", n_inputs=6, n_samples=8, task=1)
    test = lf.Teacher("gaussian", n_inputs=6, n_samples=50)
    first = lf.Teacher("gaussian", n_inputs=6, n_samples=8)
    record = lf.Record.every(
        10,
        ("loss", "product"),
        evaluate={"risk": "population", "test": test, "new": second.population},
    )
    spec = lf.grid(
        training(
            loss=first,
            n_steps=None,
            method=lf.GradientDescent(0.05),
            record=record,
            phases=[lf.Phase(n_steps=10), lf.Phase(n_steps=10, loss=second)],
        ),
        {"phases.0.n_steps": [10, 20], "data_seed": [3, 4]},
        derived="final_loss_new",
        keep_records=False,
    )
    run = spec.run(1)
    assert_array_equal(run.loss_new[-1], swept(spec)["final_loss_new"].values[0, 1])
    for product, *values in zip(
        run.product, run.loss_risk, run.loss_test, run.loss_new, strict=True
    ):
        for value, teacher in zip(values, (first.population, test, second.population), strict=True):
            assert_allclose(value, teacher.loss(4).value(product), rtol=1e-11)
    assert not np.isin(second.draw(4), first.draw(4)).any()
    assert_allclose(run.loss[-1], second.loss(4).value(run.product[-1]), rtol=1e-11)


@pytest.mark.parametrize(
    "design",
    [
        lambda t: lf.grid(
            t,
            {
                "loss.input_cov": {
                    "none": None,
                    "law": ("power_law", 1.0),
                    "own": np.diag([1.0, 2.0]),
                },
                "loss.exponent": [0.5, 2.0],
                "data_seed": np.arange(2),
            },
        ),
        lambda t: lf.sampled(
            t, {"loss.noise": stats.loguniform(1e-3, 1), "data_seed": stats.randint(0, 99)}, 5
        ),
        lambda t: lf.paired(t, {"loss.scale": [1, 2, 3.0], "data_seed": [5, 5, 7]}),
        lambda t: lf.paired(t, {"loss.scale": [1, 2, 3.0]}),
        lambda t: lf.grid(t, {"loss.n_samples": [None, 3]}, replicates=2, common_seeds=False),
    ],
)
def test_every_design_has_each_run_as_it_is_alone(design):
    teacher = lf.Teacher("power_law", n_inputs=2, n_outputs=2, exponent=1.0, n_samples=4, noise=0.1)
    start = lf.Start("aligned", 0.1)  # with the data that are drawn
    spec = design(
        lf.Training(
            lf.Dense((2, 3, 2)),
            teacher,
            start,
            lf.GradientDescent(0.1),
            9,
            record=lf.Record.at([9], ("loss",), evaluate={"risk": "population"}),
        )
    )
    data = swept(spec)
    for number in few(range(spec.n_runs), 4):
        run = spec.run(number)
        for name in ("loss", "loss_risk"):
            assert_array_equal(data[name].values[spec.index(number)], getattr(run, name))
    if "data_seed" in data.coords:
        assert data["data_seed"].dtype == np.int64


def test_a_run_says_what_its_data_were_drawn_from(tmp_path):
    run = training().train(rng=4, stream=3)
    run.save(tmp_path / "run.npz")
    for one in (run, lf.Trajectory.load(tmp_path / "run.npz")):
        said = one.provenance["data"]
        assert said["data_seed"] == 3
        assert said["rng"] == "4"
        assert said["from"]["kind"] == "sparse"
        assert_array_equal(one.loss_function.cross_cov, TEACHER.loss(3, rng=4).cross_cov)
    assert "data" not in training(loss=TEACHER.loss(0), record=None).train(rng=0).provenance


@pytest.mark.parametrize("target", ["signs", "classes"])
def test_labels_are_swept(target):
    teacher = lf.Teacher("gaussian", n_inputs=6, n_outputs=3, n_samples=9, target=target, noise=0.1)
    spec = lf.grid(
        lf.Training(
            lf.Dense((6, 4, 3)), teacher, lf.Start("gaussian"), lf.GradientDescent(0.1), 20
        ),
        {"loss.noise": [0.0, 0.3], "data_seed": [0, 3]},
    )
    data = swept(spec)["final_loss"].values
    start = lf.initialization.gaussian(lf.Dense((6, 4, 3)), rng=0, streams=0)
    teacher = lf.Teacher("gaussian", n_inputs=6, n_outputs=3, n_samples=9, target=target, noise=0.3)
    hand = lf.train(
        lf.Dense((6, 4, 3)), teacher.loss(3), start, method=lf.GradientDescent(0.1), n_steps=20
    )
    assert data[1, 1] == hand.loss[-1]


FILE = {
    "loss": {"kind": "sparse", "n_inputs": 6, "n_nonzero": 2, "n_samples": 8, "noise": 0.1, "input_cov": ["wishart", 12]},
    "network": {"kind": "Diagonal"},
    "start": {"kind": "gaussian", "scale": 0.3},
    "method": {"step_size": 0.05},
    "record": {"every": 10, "observables": ["loss", "product"], "evaluate": {"risk": "population"}},
    "batch_seed": "data_seed",
    "derived": ["final_loss_risk"],
}  # fmt: skip


def test_a_file_describes_the_same_sweep(make):
    parameters = {"loss.noise": [0.0, 0.3], "loss.kind": ["sparse"], "data_seed": [0, 1, 2]}
    file = make(**FILE, grid=parameters)
    spec = lf.grid(training(batch_seed="data_seed"), parameters, derived="final_loss_risk")
    assert file.spec.id == spec.id
    assert file.data == (repr(TEACHER),)
    varied = make(**FILE, grid={"loss.n_samples": [8, 4], "data_seed": {"arange": [0, 3]}})
    assert varied.spec.shape == (2, 3)
    assert make("loss.noise=0.2", **FILE).spec.training.loss.noise == 0.2
    phases = [
        {"n_steps": 5},
        {"n_steps": 5, "loss": {"kind": "gaussian", "n_inputs": 6, "task": 1}},
    ]
    switched = make(**FILE, phases=phases, without=["n_steps"]).spec.training
    assert repr(switched.phases[1].loss) == "Teacher('gaussian', n_inputs=6, task=1)"


def test_files_that_are_wrong(make):
    refused(make, "kind must be one of .*did you mean 'sparse'", "loss.kind=sparze", **FILE)
    refused(make, "key of loss must be one of .*'n_sample'; did you", "loss.n_sample=4", **FILE)
    refused(make, "n_nonzero must be .*6, got 7", "loss.n_nonzero=7", **FILE)
    refused(make, "data_seed must be one of seed; got 'sead'", 'data_seed="sead"', **FILE)
    refused(
        make,
        "evaluate\\['risk'\\] must be one of population",
        'record.evaluate.risk="popul"',
        **FILE,
    )


def test_the_command_line(tmp_path, make, monkeypatch, capsys):
    make(**FILE, grid={"data_seed": [0, 1]})
    monkeypatch.chdir(tmp_path)
    assert main.main(["sweep", "sweep.toml", "--plot", "none", "--set", "loss.noise=0.2"]) == 0
    assert "data       Teacher('sparse', n_inputs=6, noise=0.2" in capsys.readouterr().out
    assert main.main(["show", "sweep.zarr"]) == 0
    assert "loss       Teacher('sparse', n_inputs=6, noise=0.2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("make_it", "error"),
    [
        (lambda: training(loss=replace_scale([1.0, 2.0])), r"loss must have no run axes, got \(2,\)"),
        (lambda: training(data_seed=-1), "data_seed must be >= 0, got -1"),
        (lambda: training(data_seed="batch_seed"), "data_seed must be one of seed"),
        (lambda: training(batch_seed=2**32), "batch_seed must be <= "),
        (lambda: lf.grid(training(), {"data_seed": [0, -1]}), "data_seed must be >= 0, got -1"),
        (lambda: lf.grid(training(), {"data_seed": [0.5]}), "data_seed must be an integer"),
        (lambda: lf.grid(training(), {"loss.rank": [1]}), "rank must be left out of a teacher"),
        (lambda: lf.grid(training(), {"loss.noize": [1]}), "parameter of loss must be .*'noize'"),
        (
            lambda: lf.grid(training(batch_seed="data_seed"), {"data_seed": [2**40]}),
            "batch_seed must be <= ",
        ),
        (
            lambda: training(loss=lf.SquaredLoss(np.eye(6), np.zeros((1, 6)), 1.0)),
            r"evaluate\['risk'\] must be of what is trained on: loss must be a Teacher",
        ),
        (lambda: lf.Record.every(1, evaluate={"risk": "popul"}), r"evaluate\['risk'\] must be one of"),
        (lambda: lf.Record.every(1, evaluate={"risk": 3}), r"evaluate\['risk'\] must be a Loss"),
        (lambda: lf.Training(lf.Dense((5, 1)), TEACHER, lf.Start("gaussian"), lf.GradientDescent(0.1), 1), "loss must match the network's widths"),
    ],
)  # fmt: skip
def test_what_does_not_go_together(make_it, error):
    with pytest.raises((TypeError, ValueError), match=error):
        make_it()


def replace_scale(scale):
    return lf.Teacher("gaussian", n_inputs=6, scale=scale)


def test_identities_of_sweeps_without_teachers_are_what_they_were():
    spec = lf.grid(replace(training(), loss=TEACHER.loss(0), record=None), {"start.scale": [0.1]})
    assert not {"data_seed", "batch_seed"} & spec.encode()["training"].keys()


SHARED = {"start.scale": [0.05, 0.1, 0.2, 0.3, 0.5], "data_seed": [3, 8, 1]}
"""Runs of a scale each share data with those of other scales."""


@pytest.mark.parametrize(
    ("axes", "dims"),
    [
        (SHARED, {"data_seed"}),
        ({"start.scale": [0.1, 0.2]}, {"seed"}),
        ({"loss.noise": [0.1, 0.2], "start.scale": [0.1, 0.2]}, {"noise", "seed"}),
        ({"method.step_size": [0.1, 0.2], "data_seed": [4, 5]}, {"data_seed"}),
    ],
)
def test_the_dimensions_along_which_data_differ(axes, dims):
    assert lf.grid(training(), axes, replicates=3).data_dims == dims


def test_given_data_differ_along_no_dimension_but_their_own():
    loss = lf.SquaredLoss.from_data(np.eye(6), np.arange(6.0))
    axes = {"start.scale": [0.1, 0.2]}
    assert lf.grid(training(loss=loss, record=None), axes, replicates=3).data_dims == set()
    held = training(data_seed=5)
    assert lf.grid(held, axes, replicates=3).data_dims == set()
    assert lf.grid(training(), axes, replicates=2, common_seeds=False).data_dims == {
        "scale",
        "seed",
    }


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stop": lf.Stop(loss=0.4, check_every=5)},
        {"method": lf.Adam(0.05)},
        {"method": lf.GradientDescent(0.05, momentum=0.9), "n_steps": 0},
        {"loss": of(n_samples=70), "dtype": "float32"},
        {"network": lf.Diagonal(40, 2), "loss": of(n_inputs=40)},
    ],
    ids=["plain", "stopped", "Adam", "no step", "float32", "many inputs"],
)
def test_runs_that_share_data_are_those_of_each_alone(options, tmp_path):
    """They are trained side by side, by data and not by place; nobody sees it but the clock."""
    options = dict(options)
    network = options.pop("network", lf.Diagonal(6, 2))
    spec = lf.grid(training(network, **options), SHARED, derived={"end": ends}, keep_records=True)
    chunk = chunk_shape(spec, 4)
    assert chunk == (5, 1)  # all scales of a data seed
    whole = swept(spec)
    for number in range(spec.n_runs):
        run, place = spec.run(number), spec.index(number)
        for name in ("loss", "product", "loss_risk"):
            assert_array_equal(whole[name].values[place], run.observables[name], err_msg=name)
        assert whole["end"].values[place] == sum(w.sum() for w in run.final.weights)
        assert whole["status"].values[place] == run.status
    for store in (None, tmp_path / "s.zarr"):
        one = lf.sweep(spec, store, progress=False, chunk_runs=4)
        assert one.drop_attrs().load().equals(whole.drop_attrs())


def ends(runs):
    assert len(runs.run_shape) == 1
    assert runs.loss_function.run_shape == runs.run_shape
    return sum(w.reshape(len(w), -1).sum(axis=1) for w in runs.final.weights)


def test_losses_given_along_a_later_axis_are_those_of_their_runs():
    losses = [lf.SquaredLoss.from_data(np.eye(6), np.full(6, x)) for x in (1.0, 2.0, 3.0)]
    spec = lf.grid(
        training(loss=losses[0], record=None),
        {"start.scale": [0.1, 0.2], "loss": losses},
        derived=("final_loss",),
    )
    assert len(spec.groups) == 1
    batch = Batch.of_all(spec)
    made = batch.train(spec, lf.Record.at([20], ("loss",)))
    assert_array_equal(made.loss[..., 0], swept(spec)["final_loss"].transpose("scale", "loss"))
