"""Analysis of runs: against known answers, closed forms and plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from aligned_problems import EVERYTHING, LAM, LOSS, SIGMA, commuting, flow
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import ortho_group

import linnet_fast as lf
from linnet_fast import rank_dynamics as rd

STARTS = np.array([1e-6, 1e-7, 1e-5])


# --- ranks


def test_ranks_of_known_spectra():
    s = np.array([[4.0, 2.0, 0.001], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [np.nan] * 3])
    assert_array_equal(rd.numerical_rank(s), [2, 3, 0, np.nan])
    assert_array_equal(rd.numerical_rank(s, rtol=1e-6), [3, 3, 0, np.nan])
    assert_array_equal(rd.numerical_rank(s, rtol=0, atol=1.5), [2, 0, 0, np.nan])
    assert_allclose(rd.stable_rank(s), [20.000001 / 16, 3, 0, np.nan])
    p = s[0] / s[0].sum()
    assert_allclose(rd.effective_rank(s), [np.exp(-np.sum(p * np.log(p))), 3, 0, np.nan])
    assert_allclose(rd.participation_ratio(s), [6.001**2 / 20.000001, 3, 0, np.nan])
    assert_allclose(rd.nuclear_norm(s), [6.001, 3, 0, np.nan])
    for rank in (rd.stable_rank, rd.effective_rank, rd.participation_ratio):
        assert_allclose(rank(1e-200 * s[:3]), rank(s[:3]), rtol=1e-12)
        with pytest.raises(ValueError, match="singular_values must be >= 0"):
            rank([-1.0])
        with pytest.raises(TypeError, match="singular_values must be a real number"):
            rank(["a"])


def test_the_rank_of_a_training_climbs_one_by_one():
    run = flow(LOSS, STARTS, np.linspace(0, 40, 200))
    ranks = rd.numerical_rank(run.singular_values, atol=0.05)
    assert sorted(set(ranks)) == [0, 1, 2, 3]
    assert (np.diff(ranks) >= 0).all()


# --- modes


def test_mode_strengths_are_the_closed_form():
    times = np.linspace(0, 25, 30)
    run = flow(LOSS, STARTS, times)
    expected = rd.mode_flow(SIGMA, LAM[:3], time=times[:, None], strength=STARTS).strength
    assert_allclose(rd.mode_strengths(run), expected, atol=1e-8)
    by_weights = flow(LOSS, STARTS, times, observables=("weights",))
    assert_allclose(rd.mode_strengths(by_weights), rd.mode_strengths(run), atol=1e-14)
    assert rd.off_diagonal_energy(run).max() < 1e-12


def test_alignment_of_a_random_start_grows_to_one():
    network = lf.Dense((4, 5, 3))
    start = lf.initialization.gaussian(network, scale=1e-4, rng=0, batch_shape=3)
    run = lf.train(
        network,
        commuting(SIGMA, np.ones(4), 3, 4),
        start,
        method=lf.GradientFlow(),
        until=60.0,
        record=lf.Record.at_times([0.0, 60.0], observables=("product",)),
    )
    left, right = rd.mode_alignment(run)
    assert left.shape == right.shape == (3, 2, 3)
    assert_allclose(left[:, 1], 1, atol=1e-7)
    assert_allclose(right[:, 1], 1, atol=1e-7)
    energy = rd.off_diagonal_energy(run)
    assert (energy[:, 0] > 0.1).all()
    assert (energy[:, 1] < 1e-9).all()
    _, _, vt = np.linalg.svd(run.product[0, 0])
    v = rd.joint_decomposition(run.loss_function).right
    assert_allclose(right[0, 0], np.abs(np.diag(vt @ v))[:3], atol=1e-12)


# --- learning times


def test_learning_times_are_exact_from_few_records():
    # 13 records over three transitions: the logit is linear between them.
    run = flow(LOSS, STARTS, np.linspace(0, 24, 13))
    for fraction in (0.1, 0.5, 0.9):
        expected = rd.learning_time(SIGMA, LAM[:3], strength=STARTS, fraction=fraction)
        assert_allclose(rd.learning_times(run, fraction=fraction), expected, rtol=1e-7)


def test_learning_times_by_singular_values():
    # In order of strength here, so that ranks are modes.
    times = np.linspace(0, 40, 4000)
    run = flow(LOSS, 1e-6, times, observables=("singular_values",))
    rest = np.minimum.accumulate(SIGMA / LAM[:3])
    expected = [np.interp(0.5 * rest[k], run.singular_values[:, k], times) for k in range(3)]
    assert_allclose(rd.learning_times(run), expected, rtol=1e-4)


def test_learning_times_of_descent_are_in_time():
    network = lf.Dense((3, 3, 3))
    loss = commuting([2.0, 1.0, 0.5], np.ones(3))
    start = lf.initialization.aligned(network, loss, 1e-6, rng=0)
    eta = np.array([0.1, 0.01])
    run = lf.train(
        network,
        loss,
        start,
        method=lf.GradientDescent(eta),
        n_steps=3500,
        record=lf.Record.every(20, observables=("product",)),
    )
    expected = (
        rd.learning_steps([2.0, 1.0, 0.5], step_size=eta[:, None], strength=1e-6) * eta[:, None]
    )
    assert_allclose(rd.learning_times(run), expected, atol=0.6 * 0.1)
    assert_allclose(rd.learning_times(run)[1], expected[1], atol=0.6 * 0.01)


def test_learning_times_at_the_edges():
    run = flow(LOSS, [5.0, 1e-7, 1e-30], np.linspace(0, 20, 50))
    times = rd.learning_times(run)
    assert times[0] == 0  # above from the start
    assert np.isnan(times[2])  # not yet
    # A hidden layer of one unit learns one mode only.
    narrow = flow(LOSS, [1e-6], np.linspace(0, 60, 50), widths=(4, 1, 3))
    assert np.isfinite(rd.learning_times(narrow)).tolist() == [True, False, False]
    # A mode that the data do not have is never learned.
    short = commuting([2.0, 0.0], [1.0, 1.0])
    assert np.isnan(rd.learning_times(flow(short, 1e-3, np.linspace(0, 30, 30)))[1])
    one = flow(commuting([2.0], [1.0, 0.5, 0.2], 1, 3), [1e-6], np.linspace(0, 20, 20))
    assert_allclose(rd.learning_times(one), rd.learning_time([2.0], strength=1e-6), rtol=1e-6)


def test_runs_that_end_are_left_at_their_end():
    network = lf.Dense((3, 3, 3))
    loss = commuting([2.0, 1.0, 0.5], np.ones(3))
    start = lf.initialization.aligned(network, loss, 1e-3, rng=0)
    run = lf.train(
        network,
        loss,
        start,
        method=lf.GradientDescent([0.1, 5.0]),
        n_steps=300,
        record=lf.Record.every(10, observables=("product", "weights")),
    )
    assert run.status.tolist() == [0, 2]
    assert np.isfinite(rd.learning_times(run)[0]).all()
    assert np.isnan(rd.mode_strengths(run)[1, -1]).all()
    assert (rd.path_distances(run).nearest[1, -1]) == -1
    assert rd.path_distances(run).nearest[0, -1] == 3
    left, _ = rd.mode_alignment(run)
    assert np.isnan(left[1, -1]).all()
    assert np.isnan(rd.stages(run)[1, 3]).all()
    drift, _ = rd.imbalance_drift(run)
    assert np.isnan(drift[1, -1]).all()


# --- paths and stages


def test_distances_to_both_paths():
    # sigma 2, 1.5 with lam 4, 1: sigma^2 / lam is 1, 2.25, so the orders differ.
    loss = commuting([2.0, 1.5], [4.0, 1.0])
    run = flow(loss, 1e-12, [0.0, 8.0, 60.0])
    distances = rd.path_distances(run)
    path = rd.reduced_rank_regression(loss).products
    sigma_path = rd.sigma_ordered_path(loss)
    size = np.linalg.norm(path[-1])
    root = np.linalg.cholesky(loss.input_cov)
    for record, product in enumerate(run.product):
        for k in range(3):
            for found, predicted, target in (
                (distances.reduced_rank, distances.reduced_rank_prediction, path[k]),
                (distances.sigma_ordered, distances.sigma_ordered_prediction, sigma_path[k]),
            ):
                gap = product - target
                assert_allclose(found[record, k], np.linalg.norm(gap) / size, atol=1e-13)
                assert_allclose(predicted[record, k], np.linalg.norm(gap @ root), atol=1e-7)
    # The dynamics goes by sigma.
    assert distances.sigma_ordered[1, 1] < 0.1
    assert distances.reduced_rank[1, 1] > 0.9
    assert distances.nearest_sigma_ordered.tolist() == [0, 1, 2]


def test_stages_are_where_the_loss_rests():
    times = np.linspace(0, 60, 601)
    run = flow(LOSS, 1e-8, times)
    spans = rd.stages(run)
    learned = rd.learning_times(run)
    assert spans.shape == (4, 2)
    assert spans[0, 0] == 0
    assert spans[3, 1] == 60
    order = np.sort(learned)
    for k in range(3):
        assert spans[k, 1] < order[k] < spans[k + 1, 0] + 0.2


def test_stages_and_distances_over_run_axes():
    network = lf.Dense((4, 5, 3))
    scales = np.array([[1e-6], [1e-2]])
    start = lf.initialization.gaussian(network, scale=scales, rng=0, batch_shape=(2, 3))
    run = lf.train(
        network,
        LOSS,
        start,
        method=lf.GradientFlow(),
        until=50.0,
        record=lf.Record.at_times(np.linspace(0, 50, 101), observables=("product",)),
    )
    spans = rd.stages(run)
    assert spans.shape == (2, 3, 4, 2)
    assert (spans[0, :, 0, 1] > spans[1, :, 0, 1]).all()  # smaller starts rest for longer
    assert rd.path_distances(run).reduced_rank.shape == (2, 3, 101, 4)
    alone = lf.train(
        network,
        LOSS,
        tuple(w[1, 2] for w in start),
        method=lf.GradientFlow(),
        until=50.0,
        record=lf.Record.at_times(np.linspace(0, 50, 101), observables=("product",)),
    )
    assert_array_equal(rd.stages(alone), spans[1, 2])


# --- closed forms and imbalance


@pytest.mark.parametrize("widths", [(4, 3), (4, 4, 3), (4, 3, 5, 3)])
def test_training_stays_on_its_closed_form(widths):
    run = flow(LOSS, [1e-3, 1e-2, 1e-3], np.linspace(0, 30, 40), widths=widths)
    assert rd.closed_form_deviation(run).max() < 1e-7
    network = lf.Dense(widths)
    start = lf.initialization.aligned(network, LOSS, [1e-3, 1e-2, 1e-3], rng=0)
    run = lf.train(
        network,
        LOSS,
        start,
        method=lf.GradientDescent([0.05, 0.1]),
        n_steps=300,
        record=lf.Record.every(10, observables=("product",)),
    )
    assert rd.closed_form_deviation(run).max() < 1e-10


def test_unbalanced_factors_have_a_closed_form_too():
    d = rd.joint_decomposition(LOSS)
    q = ortho_group.rvs(4, random_state=9)[:, :3]
    w1 = q @ np.diag([0.3, -0.2, 0.5]) @ d.right[:, :3].T
    w2 = d.left @ np.diag([0.1, 0.4, 0.0]) @ q.T
    run = lf.train(
        lf.Dense((4, 4, 3)),
        LOSS,
        (w1, w2),
        method=lf.GradientFlow(1e-12),
        until=20.0,
        record=lf.Record.geomspace(30, observables=("product",)),
    )
    assert rd.closed_form_deviation(run).max() < 1e-8
    rest = lf.train(
        lf.Dense((4, 4, 3)),
        LOSS,
        run.final,
        method=lf.GradientFlow(1e-12),
        until=25.0,
        record=lf.Record.geomspace(5, observables=("product",)),
    )
    assert rd.closed_form_deviation(rest).max() < 1e-8


# --- errors


def test_errors_name_what_to_record_or_to_use():
    run = flow(LOSS, STARTS, [0.0, 1.0], observables=("loss",))
    for function in (rd.mode_strengths, rd.mode_alignment, rd.stages, rd.path_distances):
        with pytest.raises(ValueError, match="must have product or weights recorded, got loss"):
            function(run)
    with pytest.raises(ValueError, match="product, weights or singular_values recorded"):
        rd.learning_times(run)
    with pytest.raises(ValueError, match="must have weights recorded, got loss"):
        rd.imbalance_drift(run)
    with pytest.raises(TypeError, match="trajectory must be a Trajectory, got float"):
        rd.learning_times(1.0)
    full = flow(LOSS, STARTS, [0.0, 1.0])
    with pytest.raises(ValueError, match=r"fraction must be in \(0, 1\), got 1"):
        rd.learning_times(full, fraction=1.0)
    network = lf.Dense((4, 5, 3))
    start = lf.initialization.gaussian(network, rng=1)
    record = lf.Record.geomspace(3, observables=("weights",))
    options = {"method": lf.GradientFlow(), "until": 1.0, "record": record}
    with pytest.raises(ValueError, match=r"singular vectors of cross_cov.*path_distances"):
        rd.closed_form_deviation(lf.train(network, LOSS, start, **options))
    rng = np.random.default_rng(0)
    loss = lf.SquaredLoss.from_data(rng.standard_normal((20, 4)), rng.standard_normal((20, 3)))
    with pytest.raises(rd.NonCommutingError, match="greedy_path"):
        rd.closed_form_deviation(lf.train(network, loss, start, **options))
    options["method"] = lf.GradientFlow(weight_decay=0.1)
    with pytest.raises(ValueError, match="without weight decay"):
        rd.imbalance_drift(lf.train(network, LOSS, start, **options))


# --- summary


def test_summary_tells_what_was_predicted_and_measured():
    network = lf.Dense((4, 8, 3))
    start = lf.initialization.gaussian(network, scale=[1e-4, 1e-8], rng=0, batch_shape=2)
    run = lf.train(
        network,
        commuting(SIGMA, np.ones(4), 3, 4),
        start,
        method=lf.GradientFlow(),
        until=60.0,
        record=lf.Record.at_times(np.linspace(0, 60, 400), observables=("product",)),
    )
    table = rd.summary(run, run=1)
    assert_allclose(table.sigma, SIGMA)
    assert_allclose(table.relative_error, 0, atol=1e-3)
    assert_allclose(table.predicted, rd.predicted_times(run.loss_function, [w[1] for w in start]))
    assert (table.reduced_rank < 1e-3).all()
    text = str(table)
    assert repr(table) == text
    lines = text.splitlines()
    assert lines[0].split()[:4] == ["stage", "sigma", "lam", "predicted"]
    assert len({len(line) for line in lines[:5]}) == 1
    assert "agree" in text
    assert len(table.resolvability) == 2


def test_summary_of_orders_that_differ_and_of_other_runs():
    loss = commuting([2.0, 1.5], [4.0, 1.0])
    table = rd.summary(flow(loss, 1e-24, np.linspace(0, 60, 100)))
    assert "differ" in str(table)
    assert table.reduced_rank[0] > 0.5 > table.sigma_ordered[0]
    rng = np.random.default_rng(0)
    loss = lf.SquaredLoss.from_data(rng.standard_normal((20, 4)), rng.standard_normal((20, 3)))
    network = lf.Dense((4, 3, 3, 3))
    start = lf.initialization.gaussian(network, scale=0.1, rng=1)
    run = lf.train(network, loss, start, method=lf.GradientDescent(0.01), n_steps=20)
    text = str(rd.summary(run))
    assert "No prediction: start of 3 layers must be balanced" in text
    assert "No distances" in text
    assert "-" in text.splitlines()[2]
    with pytest.raises(IndexError, match="run must have 0 indices"):
        rd.summary(run, run=3)


# --- what may not warn, or go wrong, at the edges


def test_records_on_the_way_to_divergence_are_quiet():
    network = lf.Dense((4, 5, 3))
    start = lf.initialization.gaussian(network, scale=1e-3, rng=0)
    run = lf.train(
        network,
        LOSS,
        start,
        method=lf.GradientDescent([0.05, 50.0]),
        n_steps=300,
        record=lf.Record.geomspace(80, observables=EVERYTHING),
    )
    assert_array_equal(run.ok, [True, False])
    for function in (
        rd.mode_strengths,
        rd.off_diagonal_energy,
        rd.learning_times,
        rd.stages,
    ):
        assert np.isfinite(function(run)[0]).all()
    assert_array_equal(rd.path_distances(run).nearest[1, -10:], -1)
    drift, bound = rd.imbalance_drift(run)
    assert (drift[0, :, 0] <= bound[0] + 1e-13).all()
    assert np.isnan(drift[1, -1]).all()
    assert np.isnan(bound[1, -1])


def test_learning_times_from_records_of_which_all_later_ones_are_at_rest():
    """Two records before the crossing and one long after: the growth between the two tells."""
    w0 = 1e-8
    run = flow(LOSS, w0, np.array([0.0, 1.0, 2.0, 90.0]), rtol=1e-13)
    expected = np.log(SIGMA / LAM[:3] / w0 - 1) / (2 * SIGMA)
    assert_allclose(rd.learning_times(run), expected, rtol=1e-7)


def test_a_start_at_zero_stays_in_closed_form():
    run = flow(LOSS, 0.0, np.linspace(0, 5, 6))
    assert_array_equal(rd.closed_form_deviation(run), 0)


@pytest.mark.parametrize("eta", [None, 0.3])
def test_one_layer_follows_its_closed_form_from_any_start(eta):
    network = lf.Dense((4, 3))
    start = (np.random.default_rng(0).standard_normal((3, 4)),)
    if eta is None:
        run = lf.train(
            network,
            LOSS,
            start,
            method=lf.GradientFlow(1e-12),
            until=9.0,
            record=lf.Record.geomspace(30, observables=("product",)),
        )
    else:
        run = lf.train(
            network,
            LOSS,
            start,
            method=lf.GradientDescent(eta),
            n_steps=100,
            record=lf.Record.every(5, observables=("product",)),
        )
    assert (rd.closed_form_deviation(run) < 1e-9).all()
    product = run.product.copy()
    product[:] *= 1.01
    off = lf.Trajectory(
        run.network, run.loss_function, run.method, run.start, run.steps, run.time,
        {"product": product}, run.final, run.provenance, run.n_steps,
    )  # fmt: skip
    assert (rd.closed_form_deviation(off)[1:] > 1e-3).all()


# --- every kind of chain


L = lf.layers
CHAINS = {
    "dense": lf.Dense((4, 5, 3)),
    "diagonal": lf.Diagonal(4, 3),
    "convolution": lf.Convolution(4, 2, 3, padding="zero"),
    "strided": lf.Convolution(5, 2, 2, channels=2, stride=2, padding="zero"),
    "residual": lf.Residual(4, 2, 3),
    "shared": lf.Chain([L.Dense(4, 4)] * 3, share=[0, 0, 0]),
    "fixed": lf.Chain([L.Dense(4, 4), L.Fixed(np.arange(16.0).reshape(4, 4)), L.Dense(4, 3)]),
    "fixed top": lf.Chain([L.Diagonal(4)] * 3 + [L.Fixed([[1.0] * 4])], share=[0, 0, 0, None]),
    "grouped": lf.Grouped([(0, 1), (2, 3)], 2, 2),
    "parallel": lf.parallel([lf.Dense((4, 3, 2)), lf.Dense((4, 2))]),
}


def trained(network, method, observables, **options):
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((30, network.n_inputs)), rng.standard_normal((30, network.n_outputs))
    start = [0.5 * rng.standard_normal((2, *shape)) for shape in network.shapes]
    record = options.pop("record", lf.Record.geomspace(12, observables=observables))
    loss = lf.SquaredLoss.from_data(x, y)
    return lf.train(network, loss, start, method=method, record=record, **options)


@pytest.mark.parametrize("network", CHAINS.values(), ids=CHAINS)
def test_weights_recorded_are_as_good_as_products(network):
    """The products recorded come from the core, those of the weights from the layers' patterns."""
    both = [
        trained(network, lf.GradientDescent(0.01), names, n_steps=60)
        for names in (("product",), ("weights",))
    ]
    sizes = np.linalg.svd(np.nan_to_num(both[0].product, posinf=0, neginf=0), compute_uv=False)
    known = sizes > 1e-5 * sizes[..., :1]  # of the others singular vectors are rounding
    found = [
        (rd.mode_strengths(run), rd.off_diagonal_energy(run),
         *(np.where(known, cosine, 0.0) for cosine in rd.mode_alignment(run)),
         rd.learning_times(run, fraction=1e-3), rd.stages(run), *vars(rd.path_distances(run)).values())
        for run in both
    ]  # fmt: skip
    for by_product, by_weights in zip(*found, strict=True):
        assert_allclose(by_weights, by_product, rtol=1e-9, atol=1e-11)
    by_hand = [network.product([w[1, -1] for w in both[1].weights])]
    assert_allclose(both[0].product[1, -1], by_hand[0], atol=1e-13)


@pytest.mark.parametrize("network", list(CHAINS.values())[1:], ids=list(CHAINS)[1:])
def test_closed_forms_and_predictions_are_of_dense_layers(network):
    run = trained(network, lf.GradientDescent(0.01), ("product",), n_steps=10)
    with pytest.raises(ValueError, match="closed_form_deviation needs a network of dense layers"):
        rd.closed_form_deviation(run)
    assert "No prediction: predictions are of networks of dense layers" in str(
        rd.summary(run, run=0)
    )


def test_flatness_is_a_part():
    run = flow(LOSS, STARTS, [0.0, 1.0, 2.0])
    for flatness in (0.0, 1.0, 2.0, -0.1):
        with pytest.raises(ValueError, match=r"flatness must be in \(0, 1\), got"):
            rd.stages(run, flatness=flatness)
