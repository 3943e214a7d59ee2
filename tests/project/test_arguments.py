"""The validators of arguments: what passes them, what they say, and that it takes no time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import linnet_fast as lf
from linnet_fast import directional_convergence as dc
from linnet_fast import layers, plot, reference
from linnet_fast import rank_dynamics as rd
from linnet_fast._base import seeds, validate
from linnet_fast.layers.pattern import Pattern


def inside_itself():
    made = [1]
    made.append(made)
    return made


class Broken:
    def __repr__(self):
        raise RuntimeError


# -- seeds -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rng",
    [
        0,
        7,
        2**70,
        [1, 2],
        (3, 2**40),
        range(3),
        np.array([1, 2], np.uint32),
        np.array([1, 2**40], ">i8"),
        np.int16(5),
        np.array(5),
        np.random.SeedSequence(3),
    ],
    ids=repr,
)
def test_seeds_are_those_of_numpy(rng):
    plain = rng.tolist() if isinstance(rng, np.ndarray) else rng
    plain = list(plain) if isinstance(plain, range) else plain
    expected = np.random.default_rng(plain).random(4)
    np.testing.assert_array_equal(seeds.generator(rng).random(4), expected)


def test_generators_go_on():
    rng = np.random.default_rng(1)
    assert seeds.generator(rng) is rng
    assert (
        seeds.generator(np.random.Philox(1)).random()
        == np.random.Generator(np.random.Philox(1)).random()
    )


@pytest.mark.parametrize(
    ("rng", "exception", "message"),
    [
        (np.array([[1.0, 2.0]]).view(np.matrix), TypeError, r"rng\[0\] must be an integer"),
        (inside_itself(), TypeError, r"rng\[1\] must be an integer"),
        ([], ValueError, "rng must have at least one number"),
        (-1, ValueError, "rng must be >= 0, got -1"),
        ([1, -1], ValueError, r"rng\[1\] must be >= 0"),
        (1.0, TypeError, "rng must be None, an integer"),
        (True, TypeError, "rng must be None, an integer"),
        ("1", TypeError, "rng must be None, an integer"),
        ({1, 2}, TypeError, "rng must be None, an integer"),
        (np.ma.masked_array([1, 2], [False, True]), TypeError, "rng must be a sequence"),
        (np.broadcast_to(np.int64(1), (10**12,)), ValueError, "rng must have at most 65,536"),
    ],
    ids=lambda value: str(value)[:30] if not isinstance(value, list) else "list",
)
def test_bad_seeds_are_refused(rng, exception, message):
    with pytest.raises(exception, match=rf"^{message}"):
        seeds.generator(rng)
    with pytest.raises(exception, match=rf"^{message}"):
        lf.initialization.gaussian(lf.Dense((2, 2)), rng=rng)


# -- one validator per noun ------------------------------------------------------------------------


def test_anything_can_be_shown():
    assert validate.shown(Broken()).startswith("Broken <Broken instance")
    assert validate.shown(inside_itself()).startswith("list [1, [1, [")
    assert len(validate.shown("a" * 10**6)) < 200
    assert len(validate.shown(list(range(10**6)))) < 200
    assert validate.shown(10**5000).startswith("int ")


@pytest.mark.parametrize("value", ["no", 0, 1, None, np.array([True]), 1.0])
def test_only_bools_are_flags(value):
    with pytest.raises(TypeError, match=r"^center must be a bool"):
        validate.flag("center", value)
    assert validate.flag("center", np.bool_(False)) is False


def test_sequences_without_an_end_are_refused():
    with pytest.raises(ValueError, match=r"^steps must have at most"):
        validate.integers("steps", itertools.count(), low=0, high=None, most=1000)
    with pytest.raises(ValueError, match=r"^labels must have at most"):
        validate.parts("labels", itertools.repeat(1), of="numbers")


@pytest.mark.parametrize(
    ("value", "exception", "message"),
    [
        (np.broadcast_to(0.5, (2**29,)), ValueError, "must be repeated at most"),
        (np.ones((1,) * 31), ValueError, "must have at most 30 axes"),
        (10**400, ValueError, "must be finite"),
        (np.ma.masked, TypeError, "must be a plain array"),
        (1 + 0j, TypeError, "must be a real number"),
        (np.array([1.0], object), TypeError, "must be a real number"),
        ("1", TypeError, "must be a real number"),
        (inside_itself(), (TypeError, ValueError), "must be a real number"),
        (memoryview(b"ab").cast("c"), TypeError, "must be a real number"),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, int | str) else type(value).__name__,
)
def test_what_is_no_array_of_numbers_is_refused(value, exception, message):
    with pytest.raises(exception, match=rf"^x {message}"):
        validate.real_array("x", value)


def test_huge_integers_are_numbers():
    assert validate.real("x", 10**30) == 1e30


def test_integers_of_arrays_do_not_wrap():
    with pytest.raises(ValueError, match=r"^streams must be < 2\*\*60"):
        validate.integer_array("streams", np.uint64(2**64 - 1), low=0, high=2**60 - 1)


# -- what was silently accepted --------------------------------------------------------------------


def test_products_are_of_the_shapes_of_the_network():
    network = lf.Dense((3, 4, 2))
    with pytest.raises(ValueError, match=r"^weights\[0\] must have shape \(\*batch, 4, 3\)"):
        network.product([np.ones((5, 3)), np.ones((2, 5))])
    product = network.product([np.ones((7, 4, 3)), np.full((2, 4), np.nan)])
    assert product.shape == (7, 2, 3)


def test_entries_of_patterns_are_where_there_are_rows_and_weights():
    for parts, message in (
        (([2], [0], [0]), "row must be from 0 to 1, got 2"),
        (([0], [-1], [0]), "column must be from 0 up"),
        (([0], [0], [3]), "weight must be from -1 to 2, got 3"),
        (([0], [0], [-2]), "weight must be from -1 up"),
        (([0.0], [0], [0]), "row must be integers"),
        (([0, 1], [0, 1, 0], [0]), "row, column, weight and coefficient must broadcast"),
        ((np.broadcast_to(0, (10**6, 10**6)), [0], [0]), "row must "),
    ):
        with pytest.raises((TypeError, ValueError), match=rf"^{message}"):
            Pattern.of((2, 2), 3, *parts)
    with pytest.raises(ValueError, match=r"^weights must have shape \(\*batch, 3\)"):
        layers.Diagonal(3).pattern.matrix(np.ones(4))


@pytest.mark.parametrize(
    "make",
    [
        lambda: lf.Dense((1,) * 10**6),
        lambda: lf.Dense(np.broadcast_to(np.int64(1), (10**12,))),
        lambda: lf.Convolution(8, 2, 3, dilation=np.broadcast_to(np.int64(1), (10**12,))),
        lambda: lf.Chain([layers.Diagonal(2)] * 20_000),
    ],
)
def test_networks_of_too_many_layers_are_refused_at_once(make):
    with pytest.raises(ValueError, match=r"^(widths|dilation|layers) must .*at most 10,00"):
        make()


def test_starts_that_do_not_fit_are_refused_before_they_are_drawn():
    for runs in (2**40, (10**6, 10**6)):
        with pytest.raises(ValueError, match=r"^batch_shape must fit into memory, got what takes"):
            lf.initialization.gaussian(lf.Dense((2, 2)), batch_shape=runs)


def trajectory(**changes):
    run = lf.train(
        lf.Dense((2, 2)),
        lf.SquaredLoss(np.eye(2), np.eye(2), 2.0),
        [np.zeros((2, 2))],
        method=lf.GradientDescent(0.5),
        n_steps=3,
        record=lf.Record.every(1, ("loss",)),
    )
    names = "network loss_function method start steps time observables final provenance n_steps"
    return lf.Trajectory(**{name: getattr(run, name) for name in names.split()} | changes)


@pytest.mark.parametrize(
    ("changes", "exception", "message"),
    [
        ({"method": "abc"}, TypeError, "method must be a Method"),
        ({"loss_function": {}}, TypeError, "loss_function must be a Loss"),
        ({"network": {}}, TypeError, "network must be a Chain"),
        ({"observables": 1}, TypeError, "observables must be a mapping"),
        ({"time": np.array([0.0, 1.0, 0.5, 2.0])}, ValueError, "time must be rising, got 0.5"),
        ({"time": np.array([0.0, np.nan, 1.0, 2.0])}, ValueError, "time must be finite"),
        ({"time": np.array([-1.0, 0.0, 1.0, 2.0])}, ValueError, "time must be >= 0"),
        ({"n_steps": 3}, TypeError, "n_steps must be an array"),
    ],
)
def test_trajectories_are_made_of_what_they_say(changes, exception, message):
    trajectory()
    with pytest.raises(exception, match=rf"^{message}"):
        trajectory(**changes)


def test_the_reference_keeps_no_records_that_do_not_fit():
    record, start = lf.Record.every(1, ("loss",)), (np.broadcast_to([[0.5]], (10**12, 1, 1)),)
    loss = lf.SquaredLoss([[1.0]], [[2.0]], 4.0)
    with pytest.raises(ValueError, match=r"^record must fit into memory"):
        reference.train(
            lf.Dense((1, 1)), loss, start, method=lf.GradientDescent(0.1), n_steps=2, record=record
        )
    with pytest.raises(TypeError, match=r"^record must be a Record"):
        reference.train(
            lf.Dense((1, 1)), loss, ([[0.5]],), method=lf.GradientDescent(0.1), record=None
        )


def test_what_is_observed_must_fit():
    loss, weights = (
        lf.SquaredLoss([[1.0]], [[2.0]], 4.0),
        (np.broadcast_to([[0.5]], (10**12, 1, 1)),),
    )
    with pytest.raises(ValueError, match=r"^weights must fit into memory, got what takes 8,000,00"):
        lf.observe(lf.Dense((1, 1)), loss, weights, ("loss",))
    (kept,) = lf.observe(lf.Dense((1, 1)), loss, weights, ("weights",))["weights"]
    assert kept.shape == (10**12, 1, 1)


def test_pictures_are_drawn_on_axes_only():
    run = trajectory()
    for ax in ("abc", 1, object()):
        with pytest.raises(TypeError, match=r"^ax must be Axes of matplotlib"):
            plot.loss(run, ax)
    with pytest.raises(TypeError, match=r"^trajectory must be a Trajectory"):
        plot.loss("abc")


def test_axes_and_specs_check_their_parts():
    for values in ([1], {"start.scale": 1}, {1: [1.0]}):
        with pytest.raises(TypeError, match=r"^values"):
            lf.Axis([1.0], values)
    with pytest.raises(TypeError, match=r"^training must be a Training"):
        lf.SweepSpec(None, {}, None, (), 0, True, False)


# -- times, samples, files -------------------------------------------------------------------------


@pytest.mark.parametrize("method", [lf.GradientFlow(), lf.GradientFlow(log_time=True)])
@pytest.mark.parametrize("time", ["abc", {1.0}, np.ma.masked_array([1.0], True), [1j], None])
def test_times_are_numbers(method, time):
    for convert in (method.linear_time, method.own_time):
        with pytest.raises(TypeError, match=r"^time must be a "):
            convert(time)
    with pytest.raises(TypeError, match=r"^end must be a "):
        method.time_between(0.0, time)


def test_times_are_not_negative_and_fit():
    method = lf.GradientFlow(log_time=True)
    with pytest.raises(ValueError, match=r"^time must be >= 0, got -2\.0"):
        method.own_time([1.0, -2.0])
    with pytest.raises(ValueError, match=r"^run axes must broadcast"):
        method.time_between(np.zeros(2), np.zeros(3))
    assert method.own_time([]).shape == (0,)


@pytest.mark.parametrize("center", ["no", 1, None, np.array([True, False])])
def test_whether_data_are_centred_is_a_bool(center):
    with pytest.raises(TypeError, match=r"^center must be a bool"):
        lf.SquaredLoss.from_data([[1.0], [2.0]], [[1.0], [3.0]], center=center)


def test_parts_of_data_are_named():
    for data, message in [
        (([[1.0]], "y"), r"^data\[1\] must be a real number"),
        (([1.0], [[1.0]]), r"^data\[0\] must have shape"),
        (([[1.0]], [[1.0], [2.0]]), "^data must have equally many rows of both, got 1 and 2"),
    ]:
        with pytest.raises((TypeError, ValueError), match=message):
            lf.rank_dynamics.reduced_rank_regression(data)


def test_directions_whose_products_overflow_or_take_too_much_are_refused():
    product = lf.rank_dynamics.hessian_vector_product
    loss, weights = lf.SquaredLoss(np.eye(2), np.eye(2), 2.0), (np.eye(2), np.eye(2))
    with pytest.raises(ValueError, match=r"^weights and directions must give products within"):
        product(loss, (2 * np.eye(2), np.eye(2)), (np.full((2, 2), 1e308), np.eye(2)))
    with pytest.raises(ValueError, match=r"^directions must fit into memory"):
        product(loss, weights, (np.broadcast_to(np.eye(2), (10**12, 2, 2)), np.eye(2)))
    with pytest.raises(ValueError, match=r"^n_outputs must fit into memory"):
        lf.rank_dynamics.aligned_hessian_eigenvalues(
            [1.0], [1.0], [1.0], [1.0], n_hidden=1, n_outputs=2**31
        )


@pytest.mark.parametrize("path", [None, 3, b"run.npz", ["run.npz"]])
def test_paths_are_texts_or_paths(path):
    from linnet_fast import datasets, figures

    run = trajectory()
    for name, call in [
        ("path", run.save),
        ("path", lf.Trajectory.load),
        ("store", lf.open_sweep),
        ("source", datasets.load),
        ("file", lambda file: datasets.read_array(file, "X")),
        ("folder", datasets.load_mnist),
        ("folder", datasets.load_cifar10),
        ("out", lambda out: figures.reproduce("gidel2019", out, figures.Settings())),
    ]:
        with pytest.raises(TypeError, match=f"^{name} must be a path, got {type(path).__name__}"):
            call(path)


@pytest.mark.parametrize(
    ("options", "exception", "message"),
    [
        ({"settings": None}, TypeError, "settings must be a Settings"),
        ({"only": "figure1"}, TypeError, "only must be a sequence of texts"),
        ({"only": [1]}, TypeError, r"only\[0\] must be a str"),
        ({"only": ["nothing"]}, ValueError, "only must be one of"),
        ({"tell": "text"}, TypeError, "tell must be callable"),
        ({"paper": "nobody2000"}, ValueError, "paper must be one of"),
    ],
)
def test_experiments_that_are_not_there_are_refused(tmp_path, options, exception, message):
    from linnet_fast import figures

    right = {"paper": "gidel2019", "out": tmp_path / "new", "settings": figures.Settings()}
    with pytest.raises(exception, match=f"^{message}"):
        figures.reproduce(**right | options)
    assert not (tmp_path / "new").exists()


# -- ends of the range of numbers ------------------------------------------------------------------


def test_the_largest_and_least_numbers_give_values_without_a_warning():
    law = lf.laws.Gaussian(3)
    _, turning = dc.phase_velocity(law, 2, norm=1.0, log_tan_half_angle=[-1e308, 1e308])
    np.testing.assert_array_equal(turning, 0)
    assert dc.time_to_angle(law, 2, norm=1.0, angle=1.0, to_log_tan_half_angle=-1e308) == np.inf
    bound = dc.descent_angle_bound_behind(law, step_size=[1e308] * 3, norm=1.0, angle=2.0)
    assert np.isfinite(bound).all()
    assert (np.diff(bound) <= 0).all()
    loss = lf.SquaredLoss(np.eye(2), np.diag([2.0, 0.0]), 5.0)
    start = (0.1 * np.eye(2), 0.1 * np.eye(2))
    found = [rd.predicted_times(loss, start, step_size=eta) for eta in (5e-324, 1e-9)]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-8)
    classes = lf.CrossEntropyLoss([[1.0, 0.0]], [[0.0, 1.0]])
    assert np.isnan(classes.value([[np.nan, 0.0], [0.0, 0.0]]))


def test_starts_whose_products_overflow_are_refused():
    loss = lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    huge = 1e308 * np.eye(2)
    with pytest.raises(ValueError, match=r"^start\[0\] must have products of its entries within"):
        rd.isotropic_flow(loss, (huge, np.eye(2)), time=1.0)
    with pytest.raises(ValueError, match=r"^weights must have a Hessian within float64"):
        rd.sharpness(loss, (huge, np.eye(2)))


def test_step_sizes_of_more_runs_than_the_trajectory_are_refused():
    law, begin = lf.laws.Gaussian(3), (np.array([[0.3, 0.4, 0.2]]),)
    loss = lf.SphericalLogisticLoss([1.0, 0.0, 0.0], law)
    record = lf.Record.every(1, ("norm", "log_tan_half_angle"))
    method = lf.GradientDescent(0.5)
    run = lf.train(lf.Dense((3, 1)), loss, begin, method=method, n_steps=3, record=record)
    with pytest.raises(ValueError, match=r"^step_size must have run axes that broadcast"):
        dc.check_bounds(run, law=law, step_size=np.full((2, 1), 0.5))
