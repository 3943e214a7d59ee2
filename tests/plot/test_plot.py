"""Pictures: they show the numbers they are given, and leave matplotlib as they found it."""

from __future__ import annotations

import sys

import matplotlib as mpl
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from support import python

import linnet_fast as lf
from linnet_fast import plot, rank_dynamics, reference
from linnet_fast.plot._style import headline
from linnet_fast.rank_dynamics import learned

mpl.use("agg")
from matplotlib import pyplot as plt

NETWORK = lf.Dense((4, 5, 3))
LOSS = lf.SquaredLoss(np.eye(4), np.eye(3, 4) * [[3.0], [2.0], [1.0]], 14.0)
SCALES = np.array([1e-6, 1e-3, 1.0])


def train(**options):
    start = lf.initialization.gaussian(NETWORK, scale=SCALES[:, None], rng=0, batch_shape=(3, 4))
    options = {"n_steps": 400, "method": lf.GradientDescent(0.05), **options}
    return lf.train(NETWORK, LOSS, start, **options)


@pytest.fixture(scope="module")
def run():
    return train()


@pytest.fixture
def diverged():
    """The second scale diverges, and so does one seed of the third."""
    step_size = np.full((3, 4), 0.05)
    step_size[1], step_size[2, 0] = 100.0, 100.0
    run = train(method=lf.GradientDescent(step_size))
    assert_array_equal(run.ok.sum(axis=1), [4, 0, 3])
    return run


PANELS = {
    "singular_values": lambda trajectory, ax=None, **options: plot.singular_values(
        trajectory, ax, **options
    ),
    "rank": lambda trajectory, ax=None, **options: plot.rank(trajectory, ax, **options),
    "loss": lambda trajectory, ax=None, **options: plot.loss(trajectory, ax, **options),
}


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
class TestPanels:
    def test_draws_into_the_axes_it_is_given(self, panel, run):
        _, (left, right) = plt.subplots(1, 2)
        assert panel(run, right) is right
        assert right.lines
        assert not left.lines
        assert len(plt.get_fignums()) == 1

    def test_makes_axes(self, panel, run):
        ax = panel(run)
        assert ax.get_xscale() == "log"
        assert ax.get_xlim() == (1, 400)
        assert ax.get_xlabel() == "step"
        assert ax.get_ylabel()

    @pytest.mark.parametrize("index", [(), 1, (1,), (1, 2), (-1, -1)])
    def test_choice_of_runs(self, panel, run, index):
        ax = panel(run, run=index)
        n_runs = run.status[index].size
        assert len(ax.collections) == (len(ax.lines) if n_runs > 1 else 0)  # the bands

    def test_no_such_run(self, panel, run):
        with pytest.raises(IndexError):
            panel(run, run=(3,))
        with pytest.raises(IndexError, match="run must have at most 2 indices"):
            panel(run, run=(0, 0, 0))

    def test_diverged_runs_are_left_out(self, panel, diverged):
        assert np.isnan(panel(diverged, run=1).lines[0].get_ydata()).all()
        assert np.isfinite(panel(diverged, run=2).lines[0].get_ydata()).all()


class TestNumbers:
    def test_singular_values(self, run):
        lines = plot.singular_values(run, run=1).lines
        assert len(lines) == 3
        for mode, line in enumerate(lines):
            assert_array_equal(line.get_xdata(), run.steps)
            assert_allclose(line.get_ydata(), np.median(run.singular_values[1, ..., mode], axis=0))

    def test_fewer_modes(self, run):
        assert len(plot.singular_values(run, n_modes=2).lines) == 2
        for bad in (0, 4):
            with pytest.raises(ValueError, match="n_modes must be"):
                plot.singular_values(run, n_modes=bad)

    def test_rank_climbs_one_by_one(self, run):
        rank = plot.rank(run, run=(0, 0)).lines[0].get_ydata()
        assert rank[0] == 0
        assert rank[-1] == 3
        assert set(np.diff(rank)) == {0, 1}

    def test_loss(self, run):
        ax = plot.loss(run, run=2, levels=[1.0, 2.0])
        assert [line.get_ydata()[0] for line in ax.lines[:2]] == [1.0, 2.0]
        assert_allclose(ax.lines[2].get_ydata(), np.median(run.loss[2], axis=0))

    def test_a_converged_run_stays_as_it_is(self):
        run = train(stop=lf.Stop(loss=0.1, check_every=10))
        assert (run.status == lf.Status.CONVERGED).all()
        values = plot.loss(run, run=(0, 0)).lines[0].get_ydata()
        last = np.flatnonzero(run.steps <= run.stopped_at[0, 0])[-1]
        assert_array_equal(values[: last + 1], run.loss[0, 0, : last + 1])
        assert_array_equal(values[last:], run.loss[0, 0, last])


class TestStages:
    def test_columns(self, run, tmp_path):
        figure = plot.stages(run, SCALES, title="a title")
        axes = np.array(figure.axes).reshape(3, 3)
        titles = [ax.get_title() for ax in axes[0]]
        assert titles == ["scale 1", "scale $10^{-3}$", "scale $10^{-6}$"]
        assert [ax.get_ylabel() for ax in axes[:, 0]] == ["singular values", "rank", "loss"]
        assert {ax.get_xlim() for ax in figure.axes} == {axes[0, 0].get_xlim()}
        small = axes[0, 2].lines[0].get_ydata()
        assert_allclose(small, np.median(run.singular_values[0, ..., 0], axis=0))
        assert [text.get_text() for text in figure.legends[0].get_texts()] == ["1", "2", "3"]
        figure.savefig(tmp_path / "stages.png")
        assert (tmp_path / "stages.png").stat().st_size > 10_000

    def test_picks_columns(self, run):
        assert len(plot.stages(run, SCALES, n_columns=2).axes) == 6
        assert len(plot.stages(run, SCALES, n_columns=1).axes) == 3

    def test_scales_in_any_order(self, run):
        figure = plot.stages(run, SCALES[::-1])
        assert figure.axes[0].get_title() == "scale 1"
        assert_allclose(
            figure.axes[0].lines[0].get_ydata(), np.median(run.singular_values[0, ..., 0], axis=0)
        )

    def test_one_run_axis_of_several(self, run):
        ax = plot.stages(run, SCALES, run=3).axes[0]
        assert_array_equal(ax.lines[0].get_ydata(), run.singular_values[2, 3, :, 0])

    def test_diverged_runs(self, diverged, tmp_path):
        plot.stages(diverged, SCALES).savefig(tmp_path / "stages.png")

    def test_wrong_scales(self, run):
        with pytest.raises(ValueError, match=r"scales must have shape \(3,\), got \(2,\)"):
            plot.stages(run, SCALES[:2])

    def test_losses_without_modes(self, tmp_path):
        loss = lf.CrossEntropyLoss.from_data(np.eye(4)[:3], ["a", "b", "c"])
        network = lf.Dense((4, 5, 3))
        start = lf.initialization.gaussian(network, scale=0.1, rng=0, batch_shape=(2, 4))
        record = lf.Record.geomspace(
            9, ("loss", "singular_values", "accuracy"), evaluate={"test": loss}
        )
        method = lf.GradientDescent(0.5)
        run = lf.train(network, loss, start, method=method, n_steps=200, record=record)
        figure = plot.stages(run, [0.1, 0.1])
        axes = np.array(figure.axes).reshape(4, 2)
        labels = ["singular values", "effective rank", "loss", "accuracy"]
        assert [ax.get_ylabel() for ax in axes[:, 0]] == labels
        drawn = [line.get_ydata() for ax in axes[0] for line in ax.lines]
        assert axes[0, 0].get_ylim()[1] > np.max(drawn)
        expected = np.median(rank_dynamics.effective_rank(run.singular_values[0]), axis=0)
        assert_allclose(axes[1, 0].lines[0].get_ydata(), expected)
        assert_allclose(axes[3, 0].lines[0].get_ydata(), np.median(run.accuracy[0], axis=0))
        assert axes[2, 0].get_yscale() == "log"
        figure.savefig(tmp_path / "stages.png")

    def test_nothing_to_learn(self):
        run = train(n_steps=2, record=lf.Record.every(1))
        assert len(plot.stages(run, SCALES).axes) == 9


def test_what_was_not_recorded_is_named():
    run = train(n_steps=2, record=lf.Record.every(1, observables=("layer_norms",)))
    for panel in PANELS.values():
        with pytest.raises(
            (AttributeError, ValueError), match=r"was not recorded|must have product"
        ):
            panel(run)


def test_needs_matplotlib(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match="extra plot"):
        plot.loss(run)


def test_matplotlib_is_imported_lazily():
    python(
        "import sys, linnet_fast.plot, linnet_fast.datasets, linnet_fast.cli.main\n"
        "assert not {'matplotlib', 'sklearn', 'xarray', 'tqdm', 'pandas'} & set(sys.modules)"
    )


class TestModes:
    def test_learning_steps_follow_the_theory(self):
        """Aligned modes of strength s from w0 learn at ln(s / w0 - 1) / (2 s), whitened inputs."""
        step_size, w0 = 1e-3, 1e-8
        start = lf.initialization.aligned(NETWORK, LOSS, w0, rng=0)
        run = lf.train(
            NETWORK,
            LOSS,
            start,
            method=lf.GradientDescent(step_size),
            n_steps=20_000,
            record=lf.Record.geomspace(500),
        )
        s = np.array([3.0, 2.0, 1.0])
        assert learned.n_ranks(run) == 3
        expected = np.log(s / w0 - 1) / (2 * s) / step_size
        assert_allclose(learned.learned_at(run), expected, rtol=5e-3)

    def test_never_learned_and_there_from_the_start(self):
        start = lf.initialization.aligned(NETWORK, LOSS, [4.0, 4.0, 0.0], rng=0)
        run = lf.train(NETWORK, LOSS, start, method=lf.GradientDescent(0.01), n_steps=10)
        assert_array_equal(learned.learned_at(run), [0, 0, np.nan])

    @pytest.mark.parametrize(
        "widths", [(4, 3), (4, 5, 3), (4, 3, 6, 3), (4, 3, 3, 3, 3), (1, 1, 1)]
    )
    def test_sharpness_is_that_of_the_hessian(self, widths):
        rng = np.random.default_rng(0)
        x = rng.standard_normal((20, widths[0]))
        y = x @ rng.standard_normal((widths[0], widths[-1]))
        loss = lf.SquaredLoss.from_data(x, y)
        network = lf.Dense(widths)
        solution = loss.cross_cov @ np.linalg.inv(loss.input_cov)
        weights = lf.initialization.balanced(network, product=solution, rng=0)
        shapes = [w.shape for w in weights]
        ends = np.cumsum([0, *(w.size for w in weights)])

        def gradient(flat):
            layers = [
                flat[a:b].reshape(shape)
                for a, b, shape in zip(ends[:-1], ends[1:], shapes, strict=True)
            ]
            return np.concatenate([g.ravel() for g in reference.gradients(layers, loss, 0.0)])

        flat = np.concatenate([w.ravel() for w in weights])
        step = 1e-5
        hessian = [
            (gradient(flat + step * e) - gradient(flat - step * e)) / (2 * step)
            for e in np.eye(flat.size)
        ]
        sharpness = np.linalg.eigvalsh(np.array(hessian))[-1]
        assert rank_dynamics.minimum_sharpness(loss, network.n_layers) == pytest.approx(
            sharpness, 1e-3
        )

    def test_safe_step_sizes_are_safe(self):
        rng = np.random.default_rng(1)
        for widths in [(5, 3), (5, 8, 2), (6, 3, 3, 2), (3, 4, 4, 4, 4)]:
            network = lf.Dense(widths)
            x = rng.standard_normal((30, widths[0])) * rng.uniform(0.1, 3, widths[0])
            loss = lf.SquaredLoss.from_data(x, rng.standard_normal((30, widths[-1])))
            start = lf.initialization.gaussian(
                network, scale=[[1e-3], [1.0], [3.0]], rng=1, batch_shape=(3, 5)
            )
            step_size = learned.safe_step_size(network, loss, start, weight_decay=0.1)
            run = lf.train(
                network,
                loss,
                start,
                method=lf.GradientDescent(step_size),
                n_steps=500,
                record=lf.Record.every(1),
            )
            assert run.ok.all()
            assert (np.diff(run.loss, axis=-1) <= 1e-12).all()

    def test_nothing_to_learn(self):
        loss = lf.SquaredLoss(np.eye(4), np.zeros((3, 4)), 0.0)
        with pytest.raises(ValueError, match="no linear relation"):
            learned.safe_step_size(NETWORK, loss, lf.initialization.gaussian(NETWORK, rng=0))


def test_curvature_spectra_and_overlaps_show_what_was_recorded():
    network = lf.Dense((3, 4, 2))
    loss = lf.SquaredLoss(np.eye(3), np.eye(2, 3) * [[2.0], [1.0]], 5.0)
    start = lf.initialization.gaussian(network, scale=0.2, rng=0, batch_shape=3)
    names = ("loss", "hessian_eigenvalues(2, both)", "layer_singular_values", "overlap(2)")
    method = lf.GradientDescent([0.1, 0.05, 0.05], momentum=0.5)
    run = lf.train(network, loss, start, method=method, n_steps=40,
                   record=lf.Record.every(10, names))  # fmt: skip
    ax = plot.curvature(run, run=1)
    lines = [line.get_ydata() for line in ax.lines]
    both = run.hessian_eigenvalues[1]
    sides = [both[:, end, k] for end in (0, 1) for k in (0, 1)]
    for line, expected in zip(lines[:4], sides, strict=True):
        assert_array_equal(line, expected)
    assert_allclose(lines[4], 2 * 1.5 / 0.05)
    assert len(plot.curvature(run).lines) == 4  # step sizes differ: there is no limit of all
    figure = plot.spectra(run, run=0)
    shown = [line.get_ydata() for line in figure.axes[0].lines]
    assert_array_equal(np.transpose(shown), run.layer_singular_values[0, :, 0, :3])
    assert len(figure.axes[1].lines) == 2
    shown = [line.get_ydata() for line in plot.overlaps(run, run=2).lines[1:]]
    assert_array_equal(np.transpose(shown), run.overlap_2[2])
    bare = lf.train(network, loss, start, method=method, n_steps=4)
    for draw in (plot.curvature, plot.overlaps):
        with pytest.raises(ValueError, match=r"^trajectory must have"):
            draw(bare)
    plt.close("all")


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("digits; two layers", 3, ["digits; two layers"]),
        ("digits; two layers; descent and more", 2, ["digits; two layers;", "descent and more"]),
        # Words stay whole, formulas are words.
        ("x" * 40 + " " + "y" * 40, 1, ["x" * 40, "y" * 40]),
        ("of $a + b$, more", 0.7, ["of", "$a + b$,", "more"]),
    ],
)
def test_headlines_are_broken_where_the_picture_is_narrow(text, width, lines):
    figure = plt.figure(figsize=(width, 3))
    headline(figure, text)
    assert figure.get_suptitle().split("\n") == lines
    wide, high = figure.get_size_inches()
    assert wide == width
    assert_allclose(high - 3, 0.17 * len(lines))
    plt.close(figure)
