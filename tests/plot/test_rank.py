"""Pictures of rank dynamics show the numbers of theory and training, and only those."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import solve_ivp
from scipy.special import expit
from support import python

import linnet_fast as lf
from linnet_fast import plot
from linnet_fast import rank_dynamics as rd

mpl.use("agg")
from matplotlib import pyplot as plt

NETWORK = lf.Dense((4, 6, 3))
SIGMA, LAM = np.array([3.0, 2.0, 1.0]), np.array([2.0, 0.5, 1.0, 3.0])
LOSS = lf.SquaredLoss(np.diag(LAM), np.eye(3, 4) * SIGMA[:, None], 14.0)
REST = SIGMA / LAM[:3]
OBSERVABLES = ("singular_values", "product")


def flow(network=NETWORK, loss=LOSS, start=None, until=20.0, n=60, method=None, **options):
    if start is None:
        start = lf.initialization.gaussian(network, scale=1e-4, rng=0, batch_shape=(3,))
    method = lf.GradientFlow() if method is None else method
    record = lf.Record.geomspace(n, observables=OBSERVABLES)
    return lf.train(network, loss, start, method=method, until=until, record=record, **options)


def descent(network=NETWORK, loss=LOSS, start=None, step_size=0.05, n_steps=600, **options):
    if start is None:
        start = lf.initialization.gaussian(network, scale=1e-4, rng=0, batch_shape=(3,))
    record = lf.Record.geomspace(60, observables=OBSERVABLES)
    method = options.pop("method", None) or lf.GradientDescent(step_size)
    return lf.train(network, loss, start, method=method, n_steps=n_steps, record=record, **options)


def theory_lines(ax):
    """The dashed lines, one per mode."""
    return [line for line in ax.lines if line.get_linestyle() == "--"]


@pytest.fixture(scope="module")
def run():
    return flow()


@pytest.fixture(scope="module")
def of_steps():
    return descent()


@pytest.fixture(scope="module")
def diverged():
    return descent(step_size=np.array([0.05, 100.0, 100.0]))


@pytest.fixture(scope="module")
def edges():
    """Return trainings from zero, of narrow networks, of one output, of nothing to learn."""
    zero = (np.zeros((6, 4)), np.zeros((3, 6)))
    nothing = lf.SquaredLoss(np.eye(4), np.zeros((3, 4)), 1.0)
    row = lf.SquaredLoss(np.diag(LAM), np.array([[0.5, 1.0, 0.0, 2.0]]), 9.0)
    return [
        flow(start=zero),
        flow(lf.Dense((4, 1, 3))),
        flow(lf.Dense((4, 6, 1)), row),
        flow(loss=nothing),
        descent(start=zero),
    ]


PANELS = {
    "modes": plot.modes,
    "rank_staircase": plot.rank_staircase,
    "path_distance": plot.path_distance,
}


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
class TestPanels:
    def test_draws_into_the_axes_it_is_given(self, panel, run):
        _, (left, right) = plt.subplots(1, 2)
        assert panel(run, right) is right
        assert right.lines
        assert not left.lines
        assert len(plt.get_fignums()) == 1

    def test_makes_axes_and_can_be_saved(self, panel, run, of_steps, tmp_path):
        ax = panel(run)
        assert ax.get_xscale() == "log"
        assert ax.get_xlabel() == "time"
        assert panel(of_steps).get_xlabel() == "step"
        ax.figure.savefig(tmp_path / "panel.png")
        assert (tmp_path / "panel.png").stat().st_size > 5_000

    def test_no_such_run(self, panel, run):
        with pytest.raises(IndexError):
            panel(run, run=3)
        with pytest.raises(IndexError, match="run must have at most 1 indices"):
            panel(run, run=(0, 0))

    def test_diverged_runs_are_left_out(self, panel, diverged, of_steps):
        assert_array_equal(diverged.ok, [True, False, False])
        lines = panel(diverged).lines, panel(of_steps, run=0).lines
        for mixed, alone in zip(*lines, strict=True):
            assert_array_equal(mixed.get_ydata(), alone.get_ydata())
        for line in panel(diverged, run=1).lines:
            assert np.isnan(np.asarray(line.get_ydata(), float)).all()

    def test_a_converged_run_stays_as_it_is(self, panel):
        run = flow(stop=lf.Stop(loss=float(LOSS.least_loss) + 0.1))
        assert (run.status == lf.Status.CONVERGED).all()
        for line in panel(run).lines:
            assert np.isfinite(line.get_ydata()).all()

    def test_a_single_record(self, panel):
        for trained in (flow(until=0.0, n=2), descent(n_steps=0)):
            panel(trained, run=0)  # what is left open is drawn

    def test_edge_cases(self, panel, edges):
        for trained in edges:
            panel(trained)


def test_what_was_not_recorded_is_named():
    run = descent()
    for panel, name in ((plot.modes, "product"), (plot.path_distance, "product")):
        bare = lf.train(
            NETWORK, LOSS, run.start.weights, method=run.method, n_steps=3,
            record=lf.Record.every(1, observables=("loss",)),
        )  # fmt: skip
        with pytest.raises(ValueError, match=name):
            panel(bare)
    with pytest.raises(AttributeError, match="singular_values was not recorded"):
        plot.rank_staircase(bare)


def test_matplotlib_is_imported_lazily():
    python(
        "import sys, linnet_fast.plot.ranks, linnet_fast.plot.rank_diagrams\nassert 'matplotlib' not in sys.modules"
    )


class TestModes:
    def test_lines_are_medians(self, run):
        strengths = rd.mode_strengths(run)
        lines = plot.modes(run, theory=False).lines
        assert len(lines) == 3
        for mode, line in enumerate(lines):
            assert_array_equal(line.get_xdata(), run.time)
            assert_allclose(line.get_ydata(), np.median(strengths[..., mode], axis=0), rtol=1e-14)
        lines = plot.modes(run, run=1, n_modes=2, relative=True, theory=False).lines
        assert len(lines) == 2
        assert_allclose(lines[1].get_ydata(), strengths[1, :, 1] / REST[1], rtol=1e-14)

    def test_only_modes_of_the_data(self):
        loss = lf.SquaredLoss(np.eye(4), np.eye(3, 4) * [[3.0], [2.0], [0.0]], 14.0)
        assert len(plot.modes(flow(loss=loss), theory=False).lines) == 2

    def test_bad_counts(self, run):
        for bad in (0, 4):
            with pytest.raises(ValueError, match="n_modes must be"):
                plot.modes(run, n_modes=bad)

    def test_theory_of_two_layers(self):
        """From aligned starts of strength w_0, w = rest expit(2 sigma t - ln(rest / w_0 - 1))."""
        w0 = 1e-6
        start = lf.initialization.aligned(NETWORK, LOSS, w0, rng=1)
        ax = plot.modes(flow(start=start))
        lines = theory_lines(ax)
        assert len(lines) == 3
        for line, sigma, rest in zip(lines, SIGMA, REST, strict=True):
            t = line.get_xdata()
            expected = rest * expit(2 * sigma * t - np.log(rest / w0 - 1))
            assert_allclose(line.get_ydata(), expected, rtol=1e-10)
        assert [text.get_text() for text in ax.get_legend().get_texts()] == [*"123", "theory"]

    def test_theory_of_descent(self):
        w0, eta = 1e-6, 0.1
        start = lf.initialization.aligned(NETWORK, LOSS, w0, rng=1)
        ax = plot.modes(descent(start=start, step_size=eta, n_steps=300), relative=True)
        for line, sigma, lam in zip(theory_lines(ax), SIGMA, LAM[:3], strict=True):
            factor, path = np.sqrt(w0), []
            for _ in range(301):
                path.append(factor**2 * lam / sigma)
                factor += eta * factor * (sigma - lam * factor**2)
            steps = line.get_xdata().astype(int)
            assert_allclose(line.get_ydata(), np.array(path)[steps], rtol=1e-9)

    def test_theory_of_a_random_start_is_that_of_its_effective_strengths(self, run):
        """For a small start the training agrees with it."""
        ax = plot.modes(run, run=0)
        data = lf.rank_dynamics.learning_times(run)[0]
        for line, rest, time in zip(theory_lines(ax), REST, data, strict=True):
            crossed = line.get_xdata()[np.argmax(line.get_ydata() > rest / 2)]
            assert_allclose(crossed, time, rtol=0.05)

    def test_theory_of_one_layer(self):
        network = lf.Dense((4, 3))
        start = (0.3 * np.random.default_rng(0).standard_normal((3, 4)),)
        eta = 0.1
        for trained in (flow(network, start=start), descent(network, start=start, step_size=eta)):
            lines = theory_lines(plot.modes(trained))
            assert len(lines) == 3
            for i, line in enumerate(lines):
                w, t = start[0][i, i], line.get_xdata()
                kept = np.exp(-LAM[i] * t) if trained.steps is None else (1 - eta * LAM[i]) ** t
                assert_allclose(line.get_ydata(), REST[i] + (w - REST[i]) * kept, rtol=1e-10)

    def test_theory_of_three_layers(self):
        network, w0 = lf.Dense((4, 5, 5, 3)), 1e-3
        start = lf.initialization.aligned(network, LOSS, w0, rng=2)
        lines = theory_lines(plot.modes(flow(network, start=start)))
        assert len(lines) == 3
        for line, sigma, lam in zip(lines, SIGMA, LAM[:3], strict=True):
            t = line.get_xdata()
            solution = solve_ivp(
                lambda _, w, s=sigma, m=lam: 3 * w ** (4 / 3) * (s - m * w),
                (0, t[-1]), [w0], t_eval=t, method="DOP853", rtol=1e-11, atol=1e-13,
            )  # fmt: skip
            assert_allclose(line.get_ydata(), solution.y[0], rtol=1e-7)

    @pytest.mark.parametrize(
        "trained",
        [
            lambda: flow(method=lf.GradientFlow(weight_decay=0.1)),
            lambda: descent(method=lf.GradientDescent(0.05, layer_multipliers=[1.0, 2.0])),
            lambda: flow(lf.Dense((4, 5, 5, 3)), until=1.0),  # neither balanced nor aligned
        ],
    )
    def test_no_theory(self, trained):
        assert not theory_lines(plot.modes(trained()))

    def test_continued_runs_keep_their_time(self):
        """The closed form begins where the second training does."""
        w0 = 1e-6
        start = lf.initialization.aligned(NETWORK, LOSS, w0, rng=1)
        whole = flow(start=start, until=10.0, method=lf.GradientFlow(1e-12))
        first = flow(start=start, until=2.0, method=lf.GradientFlow(1e-12))
        second = flow(start=first.final, until=10.0, method=lf.GradientFlow(1e-12))
        for line, reference in zip(
            theory_lines(plot.modes(second)), theory_lines(plot.modes(whole)), strict=True
        ):
            assert line.get_xdata()[0] == 2.0
            late = reference.get_xdata() >= 2
            expected = np.interp(reference.get_xdata()[late], line.get_xdata(), line.get_ydata())
            assert_allclose(reference.get_ydata()[late], expected, atol=2e-3)

    def test_rescaled_time(self):
        delta = 8.0
        start = lf.initialization.aligned(NETWORK, LOSS, np.exp(-2 * delta), rng=1)
        run = flow(start=start)
        ax = plot.modes(run, rescaled=True)
        assert ax.get_xlabel() == r"time / $\delta$"
        assert_allclose(ax.lines[0].get_xdata(), run.time / delta, rtol=1e-10)
        marks = [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == ":"]
        assert_allclose(marks, 1 / SIGMA)
        steps = descent(start=start)
        ax = plot.modes(steps, rescaled=True)
        assert_allclose(ax.lines[0].get_xdata(), steps.time / delta, rtol=1e-10)

    def test_what_cannot_be_rescaled(self):
        with pytest.raises(
            ValueError, match="rescaled needs a network of two dense layers, got Dense"
        ):
            plot.modes(flow(lf.Dense((4, 5, 5, 3)), until=1.0), rescaled=True)
        large = lf.initialization.gaussian(NETWORK, scale=5.0, rng=0)
        with pytest.raises(ValueError, match="rescaled needs a small start"):
            plot.modes(flow(start=large, until=0.1), rescaled=True)
        several = descent(step_size=np.array([0.05, 0.04, 0.03]))
        with pytest.raises(ValueError, match="run must pick runs of one step size"):
            plot.modes(several, rescaled=True)
        plot.modes(several, run=1, rescaled=True)


class TestRankStaircase:
    def test_ranks_are_gained_one_by_one(self, run):
        ax = plot.rank_staircase(run, run=0)
        counts = ax.lines[0].get_ydata()
        assert counts[0] == 0
        assert counts[-1] == 3
        assert set(np.diff(counts)) == {0, 1}
        expected = (run.singular_values[0] > 1e-2 * REST.max()).sum(axis=-1)
        assert_array_equal(counts, expected)

    def test_theory_is_as_late(self, run):
        lines = plot.rank_staircase(run, run=0).lines
        when = [
            [line.get_xdata()[np.argmax(line.get_ydata() >= k)] for k in (1, 2, 3)]
            for line in lines
        ]
        assert len(when) == 2
        assert_allclose(when[0], when[1], rtol=0.15)  # records are 12 % apart

    @pytest.mark.parametrize(
        "measure", ["stable_rank", "effective_rank", "participation_ratio", "nuclear_norm"]
    )
    def test_other_measures(self, run, measure):
        ax = plot.rank_staircase(run, run=2, measure=measure)
        assert_allclose(ax.lines[0].get_ydata(), getattr(rd, measure)(run.singular_values[2]))
        assert ax.get_ylabel() == measure.replace("_", " ")
        # Late, when the start no longer matters, theory has the same values.
        assert_allclose(ax.lines[1].get_ydata()[-1], ax.lines[0].get_ydata()[-1], rtol=1e-6)

    def test_the_limit_of_few_ranks(self):
        assert plot.rank_staircase(flow(lf.Dense((4, 2, 3)))).lines[0].get_ydata()[-1] == 2

    def test_bad_arguments(self, run):
        with pytest.raises(ValueError, match="did you mean 'stable_rank'"):
            plot.rank_staircase(run, measure="stable_rnak")
        with pytest.raises(ValueError, match="rtol must be > 0, got 0"):
            plot.rank_staircase(run, rtol=0.0)


class TestPathDistance:
    @pytest.mark.parametrize("norm", ["prediction", "frobenius"])
    @pytest.mark.parametrize("path", ["reduced_rank", "sigma_ordered"])
    def test_the_map_shows_distances(self, run, path, norm):
        ax = plot.path_distance(run, path=path, norm=norm)
        best = np.diag(REST) @ np.eye(3, 4)
        products = np.cumsum(
            [np.zeros((3, 4)), *(best * np.eye(3)[:, [k]] for k in range(3))], axis=0
        )
        if path == "reduced_rank":  # sigma^2 / lam = 4.5, 8, 1: the second mode comes first
            products[1] = best * np.eye(3)[:, [1]]
        scale = np.sqrt(LAM) if norm == "prediction" else 1.0
        apart = np.linalg.norm((run.product[:, :, None] - products) * scale, axis=(-2, -1))
        distances = np.median(apart / np.linalg.norm(best * scale), axis=0)[1:]  # not time 0
        shown = ax.collections[0].get_array()
        assert_allclose(shown, np.clip(distances.T, 1e-3, 1.0), rtol=1e-6)
        assert_array_equal(ax.lines[0].get_ydata(), distances.argmin(axis=-1))
        assert_array_equal(ax.lines[0].get_xdata(), run.time[1:])
        left, right = ax.get_xlim()
        assert left < run.time[1] < run.time[-1] < right
        assert len(ax.figure.axes) == 2  # and the colour bar

    def test_bad_path(self, run):
        with pytest.raises(ValueError, match="path must be one of reduced_rank, sigma_ordered"):
            plot.path_distance(run, path="sigma")
        with pytest.raises(ValueError, match="norm must be one of prediction, frobenius"):
            plot.path_distance(run, norm="spectral")


class TestOneLayerAgainstTwo:
    def test_curves(self):
        ax = plot.one_layer_against_two(LOSS, [3.0, 9.0])
        assert len(ax.lines) == 6
        for i, delta in enumerate((3.0, 9.0)):
            two, one = ax.lines[2 * i], ax.lines[2 * i + 1]
            t, w0 = delta * two.get_xdata(), np.exp(-2 * delta)
            logistic = REST * expit(2 * SIGMA * t[:, None] - np.log(REST / w0 - 1))
            relaxed = REST + (w0 - REST) * np.exp(-LAM[:3] * t[:, None])
            assert_allclose(two.get_ydata(), logistic.sum(axis=-1), rtol=1e-10)
            assert_allclose(one.get_ydata(), relaxed.sum(axis=-1), rtol=1e-10, atol=1e-14)
        limit = ax.lines[-1]
        assert_allclose(limit.get_xdata()[1:-1], 1 / SIGMA)
        assert_allclose(limit.get_ydata()[:-1], [0, *np.cumsum(REST)])
        assert ax.get_xscale() == "linear"

    def test_the_exponent_halves_the_times(self):
        ax = plot.one_layer_against_two(LOSS, [400.0], exponent=1.0)
        assert_allclose(ax.lines[-1].get_xdata()[1:-1], 1 / (2 * SIGMA))
        steep, limit = ax.lines[0], ax.lines[-1]
        tau = steep.get_xdata()
        stairs = np.cumsum([0, *REST])[np.searchsorted(limit.get_xdata()[1:-1], tau)]
        away = np.abs(tau[:, None] - 1 / (2 * SIGMA)).min(axis=1) > 0.03
        assert_allclose(steep.get_ydata()[away], stairs[away], rtol=1e-4, atol=1e-4)

    def test_far_apart_times_are_logarithmic(self):
        sigma = 2.0 ** -np.arange(6)
        ax = plot.one_layer_against_two(lf.SquaredLoss(np.diag(sigma), np.diag(sigma), 2.0))
        assert ax.get_xscale() == "log"
        ax = plot.one_layer_against_two(LOSS, until=0.4)
        assert ax.get_xlim() == (0, 0.4)

    def test_bad_arguments(self):
        with pytest.raises(TypeError, match="loss must be a SquaredLoss"):
            plot.one_layer_against_two(np.eye(2))
        with pytest.raises(ValueError, match=r"loss must have no run axes, got \(2,\)"):
            plot.one_layer_against_two(lf.SquaredLoss(np.eye(2), np.ones((2, 2, 2)), 4.0))
        with pytest.raises(ValueError, match="deltas must be > 0"):
            plot.one_layer_against_two(LOSS, [0.0])
        with pytest.raises(ValueError, match="exponent must be > 0"):
            plot.one_layer_against_two(LOSS, exponent=0.0)
        with pytest.raises(ValueError, match="until must be > 0"):
            plot.one_layer_against_two(LOSS, until=0.0)
        with pytest.raises(ValueError, match="loss must have modes, which come to rest, got none"):
            plot.one_layer_against_two(lf.SquaredLoss(np.eye(2), np.zeros((2, 2)), 1.0))
        with pytest.raises(rd.NonCommutingError):
            plot.one_layer_against_two(lf.SquaredLoss([[2, 1], [1, 2]], np.diag([3.0, 1.0]), 9.0))


class TestStepSizeRegimes:
    def test_where_modes_go(self):
        ax = plot.step_size_regimes(n_points=100)
        (cloud,) = ax.lines
        x, part = cloud.get_xdata(), cloud.get_ydata()

        def moved(part, x):  # b -> b (1 + x (1 - b^2)) of b^2
            return part * (1 + x * (1 - part)) ** 2

        settled = x < 0.97
        assert_allclose(part[settled], 1, atol=1e-9)
        two = (x > 1.03) & (x < np.sqrt(5) - 1.03)
        assert two.any()
        assert_allclose(moved(moved(part[two], x[two]), x[two]), part[two], atol=1e-9)
        assert (np.abs(part[two] - 1) > 0.05).all()
        # Beyond, orbits wander but stay bounded.
        wild = x > 1.9
        assert (part[wild] <= (2 + x[wild]) / x[wild]).all()
        assert np.ptp(part[wild]) > 1

    def test_regimes_are_those_of_the_library(self):
        ax = plot.step_size_regimes(n_points=10)
        names = [text.get_text().replace("\n", " ") for text in ax.texts]
        middles = [text.xy[0] for text in ax.texts]
        for name, middle in zip(names, middles, strict=True):
            regime = rd.StepSizeRegime(int(rd.step_size_regime(1.0, step_size=middle)))
            assert regime.name.lower().replace("_", " ").replace("two", "2").startswith(name)

    def test_marks(self):
        _, ax = plt.subplots()
        assert plot.step_size_regimes(ax, marks=0.1 * SIGMA, n_points=10) is ax
        assert_allclose([line.get_xdata()[0] for line in ax.lines[1:]], 0.1 * SIGMA)
        with pytest.raises(ValueError, match="marks must be >= 0"):
            plot.step_size_regimes(marks=[-1.0])
        with pytest.raises(ValueError, match="n_points must be"):
            plot.step_size_regimes(n_points=1)


class TestLogarithmicTime:
    def run(self, until=40.0):
        start = lf.initialization.aligned(lf.Dense((4, 5, 3)), LOSS, 1e-3, rng=0)
        return lf.train(
            lf.Dense((4, 5, 3)),
            LOSS,
            start,
            method=lf.GradientFlow(1e-10, log_time=True),
            until=np.log1p(until),
            record=lf.Record.at_times(
                np.linspace(0, np.log1p(until), 80),
                observables=("loss", "product", "singular_values"),
            ),
        )

    @pytest.mark.parametrize("rescaled", [False, True])
    def test_theory_lies_on_the_training(self, rescaled):
        run = self.run()
        ax = plot.modes(run, rescaled=rescaled)
        trained = ax.lines[0]
        assert ax.get_xlabel() == (r"time / $\delta$" if rescaled else "ln(1 + time)")
        assert ax.get_xscale() == "linear"
        lines = [line for line in ax.lines if len(line.get_xdata()) == 400]
        x, y = trained.get_xdata(), trained.get_ydata()
        assert_allclose(np.interp(x, lines[0].get_xdata(), lines[0].get_ydata()), y, atol=1e-2)
        expected = rd.mode_strengths(run)[:, 0]
        assert_allclose(y, expected)
        if rescaled:
            delta = -0.5 * np.log(1e-3)
            assert_allclose(x, run.linear_time / delta, rtol=1e-6, atol=1e-12)

    def test_every_picture_has_the_axis(self):
        run = self.run()
        pictures = (
            plot.singular_values,
            plot.rank,
            plot.loss,
            plot.path_distance,
            plot.rank_staircase,
        )
        for picture in pictures:
            ax = picture(run)
            assert ax.get_xlabel() == "ln(1 + time)"
            assert ax.get_xscale() == "linear"
            assert ax.get_xlim()[0] <= 0.05
        steps = plot.rank(run).lines[0]
        jumps = steps.get_xdata()[1:][np.diff(steps.get_ydata()) > 0]
        learned = np.log1p(np.sort(rd.learning_times(run)))
        assert_allclose(jumps, learned, atol=run.time[1])


@pytest.mark.parametrize("network", [lf.Residual(4, 1, 3), lf.Grouped([(0, 1), (2, 3)])])
def test_chains_that_are_not_dense_have_no_theory(network):
    loss = lf.SquaredLoss(LOSS.input_cov, LOSS.cross_cov[: network.n_outputs], 50.0)
    start = lf.initialization.gaussian(network, scale=0.1, rng=0)
    record = lf.Record.geomspace(20, observables=("weights", "singular_values"))
    run = lf.train(network, loss, start, method=lf.GradientFlow(), until=2.0, record=record)
    n_modes = network.n_outputs
    assert len(plot.modes(run).lines) == n_modes
    assert len(plot.rank_staircase(run).lines) == 1
    with pytest.raises(ValueError, match="rescaled needs a network of two dense layers"):
        plot.modes(run, rescaled=True)


@pytest.mark.parametrize(
    "picture",
    [
        plot.singular_values,
        plot.rank,
        plot.loss,
        plot.modes,
        plot.rank_staircase,
        plot.path_distance,
    ],
)
def test_pictures_refuse_by_name(picture):
    run = TestLogarithmicTime().run(1.0)
    with pytest.raises(TypeError, match=r"^trajectory must be a Trajectory, got int"):
        picture(3)
    with pytest.raises(TypeError, match=r"^ax must be Axes of matplotlib, got str"):
        picture(run, "x")
    with pytest.raises(TypeError, match=r"^run must be an integer, got float"):
        picture(run, run=0.5)
    with pytest.raises(IndexError, match=r"^run must have at most 0 indices"):
        picture(run, run=0)
