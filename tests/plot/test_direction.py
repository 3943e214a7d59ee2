"""Pictures of directions show the numbers of trajectory and law, and only those."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from support import python

import linnet_fast as lf
from linnet_fast import directional_convergence as dc
from linnet_fast import plot

mpl.use("agg")
from matplotlib import pyplot as plt

LAW = lf.laws.Gaussian(2)
LOSS = lf.SphericalLogisticLoss([0.0, 1.0], LAW)
START = np.array([[[0.6, -0.8]], [[-1.0, 0.5]], [[0.1, 0.2]]])
QUANTITIES = ("angle", "one_minus_cos", "log_tan_half_angle", "norm")
OBSERVABLES = ("angle", "log_tan_half_angle", "norm")


def descent(start=START, step_size=0.5, n_steps=300, observables=OBSERVABLES, **options):
    return lf.train(
        lf.Dense((2, 1)),
        LOSS,
        (start,),
        method=lf.GradientDescent(step_size),
        n_steps=n_steps,
        record=lf.Record.geomspace(40, observables=observables),
        **options,
    )


def flow(n_layers=1, until=100.0, **options):
    options = {"angle": [2.5, 0.5], "norm": 1.0} | options
    times = np.append(0.0, np.geomspace(0.01, until, 60))
    return dc.reduced_flow(LAW, n_layers, time=times, **options)


@pytest.fixture(scope="module")
def run():
    return descent()


# --- direction


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_direction_draws_into_the_axes_it_is_given(quantity, run, tmp_path):
    _, (left, right) = plt.subplots(1, 2)
    assert plot.direction(run, right, quantity=quantity) is right
    assert len(right.lines) == 1
    assert not left.lines
    assert len(plt.get_fignums()) == 1
    right.figure.savefig(tmp_path / "picture.png")


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_direction_of_one_run(quantity, run):
    ax = plot.direction(run, run=1, quantity=quantity)
    x, y = ax.lines[0].get_data()
    assert_array_equal(x, run.steps)
    s = run.log_tan_half_angle[1]
    expected = {
        "angle": run.angle[1],
        "one_minus_cos": 1 - np.cos(run.angle[1]),
        "log_tan_half_angle": np.where(s < 0, -s, np.nan),
        "norm": run.norm[1],
    }[quantity]
    assert_allclose(y, expected, atol=1e-15)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert ax.get_xlabel() == "step"
    assert ax.get_ylabel()
    assert not ax.collections  # no band of a single run


def test_direction_of_many_runs_is_their_median(run):
    ax = plot.direction(run, quantity="norm")
    assert_allclose(ax.lines[0].get_ydata(), np.median(run.norm, axis=0))
    assert len(ax.collections) == 1


def test_tiny_angles_have_digits():
    run = flow(4, until=1000.0, angle=0.5)
    low = plot.direction(run, quantity="one_minus_cos").lines[0].get_ydata()
    at = int(np.searchsorted(run.time, 20))
    assert_allclose(low[at], run.one_minus_cos[at], rtol=1e-12)
    assert low[at] < 1e-20
    drawn = plot.direction(run, quantity="log_tan_half_angle").lines[0].get_ydata()
    assert_allclose(drawn[-1], -run.log_tan_half_angle[-1])
    assert drawn[-1] > 1000  # beyond the smallest number


@pytest.mark.parametrize("recorded", ["angle", "log_tan_half_angle"])
@pytest.mark.parametrize("quantity", QUANTITIES[:3])
def test_either_form_of_an_angle_will_do(recorded, quantity, run):
    other = descent(observables=(recorded,))
    lines = [plot.direction(r, run=0, quantity=quantity).lines[0] for r in (other, run)]
    assert_allclose(lines[0].get_ydata(), lines[1].get_ydata(), rtol=1e-6, atol=1e-12)


def test_against_time(run):
    ax = plot.direction(run, against="time")
    assert_allclose(ax.lines[0].get_xdata(), 0.5 * run.steps)
    assert ax.get_xlabel() == "time"
    assert plot.direction(flow()).get_xlabel() == "time"


def test_logarithmic_time_has_a_linear_axis():
    x = np.random.default_rng(0).standard_normal((20, 2))
    run = lf.train(
        lf.Dense((2, 1)),
        lf.LogisticLoss.from_data(x, np.sign(x[:, 1])),
        (START[0],),
        method=lf.GradientFlow(log_time=True),
        until=30.0,
        record=lf.Record.at_times(np.linspace(0, 30, 31), ("angle", "norm"), direction=[0, 1]),
    )
    law = dc.late_time_law(LAW, 1)
    ax = plot.direction(run, quantity="norm", expected=law)
    assert (ax.get_xscale(), ax.get_xlabel()) == ("linear", "ln(1 + time)")
    assert_allclose(ax.get_xlim(), (0, 30))
    u, r = ax.lines[1].get_data()
    assert_allclose(r, law.norm(time=np.expm1(u)))
    assert u[0] == 15


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_the_expected_law_of_a_flow(quantity):
    law = dc.late_time_law(LAW, 1)
    ax = plot.direction(flow(until=1e4), run=0, quantity=quantity, expected=law)
    line = ax.lines[1]
    time, drawn = line.get_data()
    s = law.log_tan_half_angle(time=time)
    expected = {
        "angle": 2 * np.arctan(np.exp(s)),
        "one_minus_cos": dc.one_minus_cosine(log_tan_half_angle=s),
        "log_tan_half_angle": -s,
        "norm": law.norm(time=time),
    }[quantity]
    assert_allclose(drawn, expected)
    assert line.get_linestyle() == "--"
    assert_allclose(time[[0, -1]], [10.0, 1e4], rtol=1e-9)
    if quantity in ("norm", "log_tan_half_angle"):  # where both are straight they meet
        assert_allclose(drawn[-1], ax.lines[0].get_ydata()[-1], rtol=0.05)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["training", "expected"]


def test_the_expected_law_of_descent():
    rule = lf.StepRule.norm_proportional(1.0)
    law = dc.descent_law(LAW, rule)
    run = descent(START[0], step_size=rule, observables=("norm",))
    ax = plot.direction(run, quantity="norm", expected=law)
    steps, drawn = ax.lines[1].get_data()
    assert_allclose(drawn, law.norm(steps=steps))
    assert_allclose(drawn[-1], run.norm[-1], rtol=0.05)


def test_a_law_that_begins_later_is_drawn_from_there():
    law = dc.late_time_law(LAW, 1, time=50.0, norm=4.0, log_tan_half_angle=-9.0)
    time = plot.direction(flow(), expected=law).lines[1].get_xdata()
    assert time[0] >= 50


def test_several_on_the_same_axes_have_one_entry_for_the_law():
    _, ax = plt.subplots()
    for n_layers in (1, 2, 3):
        law = dc.late_time_law(LAW, n_layers)
        plot.direction(
            flow(n_layers), ax, run=0, quantity="norm", expected=law, label=f"{n_layers} layers"
        )
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert sorted(labels) == ["1 layers", "2 layers", "3 layers", "expected"]
    assert len(ax.lines) == 6


def test_runs_that_diverge_are_left_out():
    x = np.random.default_rng(0).standard_normal((30, 2))
    run = lf.train(
        lf.Dense((2, 3, 1)),
        lf.ExponentialLoss(x, np.sign(x[:, 1])),
        lf.initialization.balanced(lf.Dense((2, 3, 1)), product=START[:2], rng=0, batch_shape=2),
        method=lf.GradientDescent([0.05, 1e6]),
        n_steps=50,
        record=lf.Record.geomspace(20, ("norm", "angle"), direction=[0, 1]),
    )
    assert run.ok.tolist() == [True, False]
    ax = plot.direction(run, quantity="norm")
    assert_array_equal(ax.lines[0].get_ydata(), run.norm[0])
    nothing = plot.direction(run, run=1)
    assert np.isnan(nothing.lines[0].get_ydata()).all()


def test_only_step_0():
    run = descent(n_steps=0)
    for quantity in QUANTITIES:
        ax = plot.direction(run, quantity=quantity)
        assert [len(line.get_ydata()) for line in ax.lines] == [1] * len(ax.lines) != []


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"quantity": "angel"}, ValueError, "did you mean 'angle'"),
        ({"against": "epochs"}, ValueError, "against"),
        ({"run": (0, 0)}, IndexError, "run must have at most 1"),
        ({"run": 7}, IndexError, "run must be an index of run axes"),
        ({"expected": dc.late_time_law(LAW, 1)}, ValueError, "must be a DescentLaw here"),
        (
            {"expected": dc.descent_law(LAW, lf.StepRule.power([1.0, 2.0], 0.0))},
            ValueError,
            "of one run",
        ),
    ],
)
def test_bad_requests_of_direction(options, error, message, run):
    with pytest.raises(error, match=message):
        plot.direction(run, **options)
    assert not plt.get_fignums()


def test_bad_requests_of_flows():
    with pytest.raises(ValueError, match="'time' for a flow"):
        plot.direction(flow(), against="steps")
    with pytest.raises(IndexError, match="at most 1"):
        plot.direction(flow(), run=(0, 1))
    law = dc.descent_law(LAW, lf.StepRule.power(1.0, 0.0))
    with pytest.raises(ValueError, match="must be a LateTimeLaw here"):
        plot.direction(flow(), expected=law)


def test_runs_of_several_step_sizes_have_no_common_time():
    run = descent(step_size=np.array([0.1, 0.2, 0.3]))
    with pytest.raises(ValueError, match="same times"):
        plot.direction(run, against="time")
    plot.direction(run, run=1, against="time")
    plot.direction(run)


def test_what_was_not_recorded_is_an_error(run):
    with pytest.raises(AttributeError, match="norm"):
        plot.direction(descent(observables=("angle",)), quantity="norm")
    with pytest.raises(AttributeError, match="angle"):
        plot.direction(descent(observables=("norm",)))
    assert run.ok.all()


# --- phase portrait


@pytest.mark.parametrize("n_layers", [1, 2, 4])
def test_phase_portrait(n_layers, tmp_path):
    _, (left, right) = plt.subplots(1, 2)
    paths = flow(n_layers)
    assert plot.phase_portrait(LAW, n_layers, right, runs=paths, largest_norm=2.0) is right
    assert not left.lines
    border, *lines = right.lines
    r, theta = border.get_data()
    assert_allclose(theta, dc.nullcline(LAW, norm=r))
    assert r[-1] == 2
    assert len(lines) == 4  # two runs, each with a dot
    assert_allclose(lines[0].get_xdata(), paths.norm[0])
    assert_allclose(lines[0].get_ydata(), paths.angle[0])
    assert_allclose(np.concatenate(lines[3].get_data()), [1.0, 0.5])
    assert right.get_xlim() == (0, 2)
    assert_allclose(right.get_ylim(), (0, np.pi))
    right.figure.savefig(tmp_path / "picture.png")


def test_starts_on_the_border_are_seen_whole():
    path = dc.reduced_flow(
        LAW, 2, angle=[0.5, 0.5, np.pi - 1e-9], norm=[3.0, 2.0, 1.0], time=[0.0, 1.0]
    )
    ax = plot.phase_portrait(LAW, 2, runs=path, largest_norm=2.0)
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert [dot.get_clip_on() for dot in dots] == [True, False, False], "the first is outside"


def test_streamlines_are_orbits():
    ax = plot.phase_portrait(LAW, 3)
    collections = [c for c in ax.collections if hasattr(c, "get_segments")]
    paths = [part for c in collections for part in c.get_segments()]
    step = np.concatenate([np.diff(path, axis=0) for path in paths])
    middle = np.concatenate([(path[1:] + path[:-1]) / 2 for path in paths])
    inside = (middle[:, 0] > 0.2) & (middle[:, 1] > 0.2) & (middle[:, 1] < 3.0)
    speed = np.stack(
        dc.phase_velocity(LAW, 3, norm=middle[inside, 0], angle=middle[inside, 1]), axis=-1
    )
    step = step[inside]
    long = np.linalg.norm(step, axis=-1) > 1e-6
    cosine = (
        np.sum(step * speed, axis=-1)[long]
        / (np.linalg.norm(step, axis=-1) * np.linalg.norm(speed, axis=-1))[long]
    )
    assert np.count_nonzero(long) > 500
    assert np.quantile(cosine, 0.05) > 0.99


def test_phase_portrait_of_trainings_and_none(run):
    assert len(plot.phase_portrait(LAW, 1).lines) == 1
    ax = plot.phase_portrait(LAW, 1, runs=[run, flow()])
    assert len(ax.lines) == 1 + 2 * (3 + 2)
    paths = [line for line in ax.lines[1:] if line.get_marker() == "None"]
    assert len({mpl.colors.to_hex(line.get_color()) for line in paths}) == 5


def test_label_noise_bends_the_border():
    ax = plot.phase_portrait(LAW, 2, label_noise=0.1)
    r, theta = ax.lines[0].get_data()
    expected = dc.nullcline(LAW, norm=r, label_noise=0.1)
    assert_array_equal(theta, expected)
    assert np.isnan(expected).any()  # beyond the minimiser the norm shrinks at every angle


@pytest.mark.parametrize(
    ("law", "n_layers", "options", "error"),
    [
        ("gauss", 1, {}, TypeError),
        (LAW, 0, {}, ValueError),
        (LAW, 1.5, {}, TypeError),
        (LAW, 1, {"largest_norm": 0.0}, ValueError),
        (LAW, 1, {"largest_norm": "wide"}, TypeError),
        (LAW, 1, {"label_noise": 0.5}, ValueError),
    ],
)
def test_bad_requests_of_portraits(law, n_layers, options, error):
    with pytest.raises(error):
        plot.phase_portrait(law, n_layers, **options)
    assert not plt.get_fignums()


def test_angles_that_were_not_recorded_are_an_error():
    with pytest.raises(AttributeError, match="angle"):
        plot.phase_portrait(LAW, 1, runs=descent(observables=("norm",)))
    assert not plt.get_fignums()


def test_matplotlib_is_imported_when_a_picture_is_drawn():
    code = "import sys, linnet_fast.plot; print('matplotlib' in sys.modules)"
    assert python(code).stdout.strip() == "False"


def test_a_picture_without_labels_has_no_legend(run):
    assert plot.direction(run, label="").get_legend() is None
