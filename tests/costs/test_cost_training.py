"""Training with weight decay against solvers that know nothing of weights.

Gradient descent on loss + c/2 ||w||^2 ends at the minimum of loss + c/2 R: of the lasso, of nuclear
and group norms, of the norms that networks were designed for. Each is solved here once more, by
scikit-learn, by a convex solver or by proximal gradients.
"""

from __future__ import annotations

import itertools
import math

import cvxpy as cp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize, minimize_scalar
from sklearn.datasets import load_diabetes, load_digits
from sklearn.linear_model import ElasticNet, Lasso

import linnet_fast as lf
from linnet_fast import layers
from linnet_fast import regularizers as r

DECAYS = np.array([0.4, 0.15, 0.05])


def problem(n_inputs, n_outputs=1, *, n=40, seed=0):
    """Return data whose inputs are correlated and whose targets use some of them."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, n_inputs)) + 0.5 * rng.standard_normal((n, 1))
    truth = rng.standard_normal((n_inputs, n_outputs)) * (rng.random((n_inputs, 1)) < 0.6)
    return x, x @ truth + 0.3 * rng.standard_normal((n, n_outputs))


def descend(network, loss, decays, *, n_starts=4, step=0.05, n_steps=1_000_000, scale=0.7):
    """Train from several starts at every decay, all in one call; return runs (decay, start)."""
    start = lf.initialization.gaussian(
        network, scale=scale, rng=1, batch_shape=(len(decays), n_starts)
    )
    run = lf.train(
        network,
        loss,
        start,
        method=lf.GradientDescent(step, weight_decay=np.asarray(decays)[:, None]),
        n_steps=n_steps,
        stop=lf.Stop(gradient_norm=1e-13),
        record=lf.Record.geomspace(2, ("gradient_norm",)),
    )
    assert run.ok.all()
    return run


def squares(run):
    """Return the squared norm of all weights of every run, and of every layer."""
    n_runs = run.status.ndim
    parts = [np.sum(w**2, axis=tuple(range(n_runs, w.ndim))) for w in run.final.weights]
    return np.sum(parts, axis=0), np.stack(parts, axis=-1)


def objective(run, decays):
    """Return loss + c/2 ||w||^2 at the ends."""
    product = run.network.product(run.final.weights)
    return run.loss_function.value(product) + np.asarray(decays)[:, None] / 2 * squares(run)[0]


def assert_cheapest(run, *, rtol=1e-9, balanced=True):
    """Assert that no weights give the predictors of the ends at less, by the library's costs."""
    product = run.network.product(run.final.weights)
    predictor = product[..., 0, :] if run.network.n_outputs == 1 else product
    total, by_layer = squares(run)
    assert total.min() > 1e-3  # weights that died would pass every check
    cost = lf.representation_cost(run.network, predictor)
    assert cost.exact.all()
    assert_allclose(total, cost.value, rtol=rtol)
    if balanced:
        shape = by_layer.shape
        assert_allclose(by_layer, np.broadcast_to(total[..., None] / shape[-1], shape), rtol=1e-8)


def proximal(prox, gradient, start, step, n_steps):
    """Return where accelerated proximal gradients end, restarted where they turn back."""
    x, y, t = start, start, 1.0
    for _ in range(n_steps):
        new = prox(y - step * gradient(y), step)
        if np.sum((y - new) * (new - x)) > 0:
            t = 1.0
        grown = (1 + math.sqrt(1 + 4 * t * t)) / 2
        x, y, t = new, new + (t - 1) / grown * (new - x), grown
    return x


def convex(x, y, penalty, decay):
    """Return predictor and least value of loss + decay penalty(b), by an interior-point method."""
    b = cp.Variable(x.shape[1])
    value, constraints = penalty(b)
    goal = cp.sum_squares(y[:, 0] - x @ b) / (2 * len(x)) + decay * value
    task = cp.Problem(cp.Minimize(goal), constraints)
    task.solve(cp.CLARABEL, tol_gap_abs=1e-9, tol_gap_rel=1e-9, tol_feas=1e-9)
    return b.value, task.value


def assert_minimal(run, decays, values, predictors, *, rtol=1e-9, atol=1e-6, every=True):
    """Assert that runs end at the least value and at its predictor; all of them, or the best."""
    ends = objective(run, decays)
    best = np.argmin(ends, axis=1)
    assert_allclose(ends.min(axis=1), values, rtol=rtol)
    if every:
        assert_allclose(ends, np.broadcast_to(np.array(values)[:, None], ends.shape), rtol=rtol)
    product = run.network.product(run.final.weights)[np.arange(len(best)), best]
    assert_allclose(
        product.reshape(len(best), -1), np.reshape(predictors, (len(best), -1)), atol=atol, rtol=0
    )


def assert_solved(run, decays, solutions):
    """Assert that the best runs end where `convex` does, which is right to about 1e-8."""
    predictors, values = zip(*solutions, strict=True)
    assert_minimal(run, decays, values, predictors, rtol=1e-8, atol=3e-5, every=False)


def diabetes():
    x, y = load_diabetes(return_X_y=True)
    return (x - x.mean(axis=0)) / x.std(axis=0), ((y - y.mean()) / y.std())[:, None]


def assert_is_lasso(x, y, decays, **options):
    network = lf.Diagonal(x.shape[1], 2)
    run = descend(network, lf.SquaredLoss.from_data(x, y), decays, **options)
    paths = [
        Lasso(alpha=c, fit_intercept=False, tol=1e-14, max_iter=10**6).fit(x, y[:, 0]).coef_
        for c in decays
    ]
    losses = run.loss_function.value(np.array(paths)[:, None])
    values = losses + decays * np.abs(paths).sum(axis=1)
    assert_minimal(run, decays, values, paths)
    assert_cheapest(run)
    return run


def test_diagonal_layers_are_the_lasso_on_the_diabetes_data():
    x, y = diabetes()
    decays = np.array([0.31, 0.1, 0.02])
    run = assert_is_lasso(x, y, decays, step=0.2, n_steps=400_000)
    used = np.abs(run.network.product(run.final.weights)[:, 0, 0]) > 1e-9
    assert used.sum(axis=1).tolist() == [2, 4, 7]


@pytest.mark.parametrize("seed", range(4))
def test_diagonal_layers_are_the_lasso_on_random_designs(seed):
    x, y = problem(6 + 4 * seed, n=30, seed=seed)
    assert_is_lasso(x, y, DECAYS)


def test_diagonal_layers_along_the_flow_are_the_lasso():
    x, y = problem(6)
    network, loss = lf.Diagonal(6, 2), lf.SquaredLoss.from_data(x, y)
    run = lf.train(
        network,
        loss,
        lf.initialization.gaussian(network, rng=0),
        method=lf.GradientFlow(1e-8, weight_decay=0.15),
        until=400.0,
        record=lf.Record.at_times([400.0], ("gradient_norm",)),
    )
    lasso = Lasso(alpha=0.15, fit_intercept=False, tol=1e-14).fit(x, y[:, 0]).coef_
    assert_allclose(network.product(run.final.weights)[0], lasso, atol=1e-7)


def test_the_elastic_net_is_the_lasso_on_augmented_data():
    x, y = diabetes()
    alpha, share = 0.2, 0.6
    penalty = r.ElasticNet(l1=alpha * share, l2=alpha * (1 - share) / 2)
    loss = lf.SquaredLoss.from_data(*penalty.augment(x, y))
    decays = np.array([penalty.l1])
    run = descend(lf.Diagonal(10, 2), loss, decays, step=0.1)
    net = ElasticNet(alpha=alpha, l1_ratio=share, fit_intercept=False, tol=1e-14, max_iter=10**6)
    b = net.fit(x, y[:, 0]).coef_
    value = np.sum((y[:, 0] - x @ b) ** 2) / (2 * len(x)) + float(penalty.value(b))
    assert_minimal(run, decays, [value], [b])
    assert_cheapest(run)


def by_nuclear_norm(loss, decays):
    """Return predictors and values of loss + c ||B||_* by thresholding singular values."""
    found = []
    for c in decays:

        def shrunk(b, step, c=c):
            u, s, vt = np.linalg.svd(b, full_matrices=False)
            return (u * np.maximum(s - step * c, 0)) @ vt

        step = 1 / np.linalg.eigvalsh(loss.input_cov)[-1]
        found.append(
            proximal(
                shrunk,
                lambda b: b @ loss.input_cov - loss.cross_cov,
                np.zeros(loss.cross_cov.shape),
                step,
                8_000,
            )
        )
    sums = np.array([np.linalg.svd(b, compute_uv=False).sum() for b in found])
    return found, loss.value(np.array(found)) + decays * sums


def test_dense_layers_are_the_nuclear_norm():
    x, y = problem(6, 4)
    loss = lf.SquaredLoss.from_data(x, y)
    decays = 4 * DECAYS
    run = descend(lf.Dense((6, 4, 4)), loss, decays)
    predictors, values = by_nuclear_norm(loss, decays)
    assert_minimal(run, decays, values, predictors)
    assert_cheapest(run)
    ranks = np.linalg.matrix_rank(run.network.product(run.final.weights), tol=1e-6)
    assert (ranks[:, 0] < 4).any()  # the norm, not only the data, decides some of them


def test_dense_layers_are_the_nuclear_norm_on_digits():
    images, labels = load_digits(return_X_y=True)
    some = labels < 4
    x = images[some].reshape(-1, 8, 8)[:, 1:7, 2:6].reshape(-1, 24) / 16
    y = np.eye(4)[labels[some]]
    loss = lf.SquaredLoss.from_data(x, y, center=True)
    decays = np.array([0.03, 0.01])
    run = descend(lf.Dense((24, 4, 4)), loss, decays, n_starts=2, step=0.2, n_steps=60_000)
    predictors, values = by_nuclear_norm(loss, decays)
    assert_minimal(run, decays, values, predictors)
    assert_cheapest(run)


def test_grouped_layers_are_the_group_lasso():
    groups = [(0, 1, 2), (3, 4), (5,), (6, 7, 8)]
    x, y = problem(9)
    loss = lf.SquaredLoss.from_data(x, y)
    run = descend(lf.Grouped(groups), loss, DECAYS)
    predictors, values = [], []
    for c in DECAYS:

        def shrunk(b, step, c=c):
            result = np.zeros_like(b)
            for group in map(list, groups):
                size = np.linalg.norm(b[group])
                if size > step * c:
                    result[group] = b[group] * (1 - step * c / size)
            return result

        step = 1 / np.linalg.eigvalsh(loss.input_cov)[-1]
        b = proximal(
            shrunk, lambda b: loss.input_cov @ b - loss.cross_cov[0], np.zeros(9), step, 5000
        )
        sizes = [np.linalg.norm(b[list(group)]) for group in groups]
        predictors.append(b)
        values.append(float(loss.value(b[None])) + c * sum(sizes))
    assert_minimal(run, DECAYS, values, predictors)
    assert_cheapest(run)
    assert min(np.count_nonzero(b) for b in predictors) < 9  # whole groups are out


@pytest.mark.parametrize("kernel_size", [2, 3])
def test_kernels_are_a_nuclear_norm_of_taps_by_positions(kernel_size):
    width = 6
    x, y = problem(width)

    def penalty(b):
        m = cp.Variable((width, kernel_size))
        sums = [
            sum(m[(j - t) % width, t] for t in range(kernel_size)) == b[j] for j in range(width)
        ]
        return cp.normNuc(m), sums

    run = descend(
        lf.Convolution(width, kernel_size, 2), lf.SquaredLoss.from_data(x, y), DECAYS, n_starts=8
    )
    solutions = [convex(x, y, penalty, c) for c in DECAYS]
    assert_solved(run, DECAYS, solutions)
    assert_cheapest(run)


def test_masked_units_are_the_latent_group_lasso():
    groups = [(0, 1, 2), (2, 3), (3, 4, 5), (0, 5)]
    x, y = problem(6, seed=1)
    network = lf.Chain([layers.Masked.of_groups(groups, 6), layers.Dense(4, 1)])

    def penalty(b):
        parts = [cp.Variable(len(group)) for group in groups]
        placed = [np.eye(6)[:, group] @ part for group, part in zip(groups, parts, strict=True)]
        return sum(map(cp.norm2, parts)), [sum(placed) == b]

    run = descend(network, lf.SquaredLoss.from_data(x, y), DECAYS)
    solutions = [convex(x, y, penalty, c) for c in DECAYS]
    assert_solved(run, DECAYS, solutions)
    assert_cheapest(run)


def k_support(b):
    # By the best scales of the coordinates, of which none is above t and the sum is up to 2 t.
    scales, t = cp.Variable(b.shape[0]), cp.Variable()
    parts = sum(cp.quad_over_lin(b[i], scales[i]) for i in range(b.shape[0]))
    return (parts + t) / 2, [scales <= t, cp.sum(scales) <= 2 * t]


def owl(b):
    weights = (2.0, 1.5, 0.5, 0.25)
    steps = np.append(-np.diff(weights), weights[-1])
    return sum(step * cp.sum_largest(cp.abs(b), k + 1) for k, step in enumerate(steps)), []


def exclusive(b):
    return cp.norm2(cp.hstack([cp.norm1(b[:2]), cp.norm1(b[2:])])), []


def fourier(b):
    modes = np.fft.fft(np.eye(6))
    return sum(cp.norm2(np.stack([m.real, m.imag]) @ b) for m in modes) / 6, []


@pytest.mark.parametrize(
    ("regularizer", "penalty", "n"),
    [
        (r.KSupport(2), k_support, 4),
        (r.OWL([2.0, 1.5, 0.5, 0.25]), owl, 4),
        (r.LInf(), lambda b: (cp.norm_inf(b), []), 4),
        (r.TotalVariation(), lambda b: (cp.abs(b[0]) + cp.tv(b), []), 6),
        (r.ExclusiveLasso([(0, 1), (2, 3, 4)]), exclusive, 5),
        (r.FourierL1(), fourier, 6),
    ],
    ids=lambda x: repr(x) if isinstance(x, r.Regularizer) else "",
)
def test_networks_that_were_designed_minimise_their_regularizer(regularizer, penalty, n):
    x, y = problem(n, seed=3)
    network = lf.parameterize(regularizer, n)
    found = lf.what_is(network)
    b = np.random.default_rng(0).standard_normal((5, n))
    assert_allclose(found.value(b), found.constant * regularizer.value(b), rtol=1e-12)
    decays = DECAYS / found.constant
    run = descend(network, lf.SquaredLoss.from_data(x, y), decays, n_starts=2, step=0.1)
    factor = found.constant / 2
    solutions = [convex(x, y, penalty, c * factor) for c in decays]
    assert_solved(run, decays, solutions)
    assert_cheapest(run)


def test_three_diagonal_layers_stop_where_the_quasi_norm_has_its_least_value():
    x, y = problem(3, seed=7)
    loss = lf.SquaredLoss.from_data(x, y)
    network, decays = lf.Diagonal(3, 3), np.array([0.3, 0.1, 0.03])
    run = descend(network, loss, decays, n_starts=64, scale=1.2, step=0.01)
    product = network.product(run.final.weights)
    sizes = np.sum(np.abs(product[..., 0, :]) ** (2 / 3), axis=-1)
    # Every end is a stationary point, and costs no more than its predictor must.
    ends = objective(run, decays)
    cost = lf.representation_cost(network, product[..., 0, :])
    assert_allclose(squares(run)[0], cost.value, rtol=1e-9, atol=1e-12)
    assert_allclose(ends, loss.value(product) + 1.5 * decays[:, None] * sizes, rtol=1e-9)
    assert (np.ptp(ends, axis=1) > 1e-3).all()  # which are several

    side = np.arange(-60, 61) / 20
    grid = np.stack(np.meshgrid(side, side, side, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    at_grid, power = loss.value(grid), 1.5 * np.sum(np.abs(grid[:, 0]) ** (2 / 3), axis=-1)
    for c, value in zip(decays, ends.min(axis=1), strict=True):
        first = grid[np.argmin(at_grid + c * power), 0]
        used = np.flatnonzero(first)

        def goal(part, c=c, used=used):
            b = np.zeros(3)
            b[used] = part
            return float(loss.value(b[None])) + 1.5 * c * np.sum(np.abs(b) ** (2 / 3))

        polished = minimize(goal, first[used], method="Nelder-Mead", tol=1e-13)
        assert_allclose(value, polished.fun, rtol=1e-9)


def test_three_diagonal_layers_on_white_inputs_minimise_coordinate_by_coordinate():
    strengths, c = np.array([2.0, -1.2, 0.9, 0.4, 0.1]), 0.3
    loss = lf.SquaredLoss(np.eye(5), strengths[None], np.sum(strengths**2))
    run = descend(lf.Diagonal(5, 3), loss, [c], n_starts=64, scale=1.2, step=0.01)
    value = 0.0
    for s in np.abs(strengths):

        def goal(b, s=s):
            return (b - s) ** 2 / 2 + 1.5 * c * b ** (2 / 3)

        inner = minimize_scalar(goal, bounds=(s / 2, s), method="bounded", options={"xatol": 1e-13})
        value += min(goal(0.0), inner.fun)
    assert_allclose(objective(run, [c]).min(), value, rtol=1e-9)


@pytest.mark.parametrize(("n_blocks", "scale"), [(1, 1.0), (2, 1.0), (4, 0.5)])
def test_residual_blocks_minimise_their_cost(n_blocks, scale):
    x, y = problem(5, seed=3)
    loss = lf.SquaredLoss.from_data(x, y)
    network = lf.Residual(5, n_blocks, scale=scale)
    run = descend(network, loss, DECAYS, scale=0.3)
    assert_cheapest(run, balanced=False)
    values, predictors = [], []
    for c in DECAYS:

        def goal(v, c=c):
            b, a = v[:5], abs(v[5])
            cost = n_blocks * a**2 + b @ b / (1 + scale * a) ** (2 * n_blocks)
            return float(loss.value(b[None])) + c / 2 * cost

        starts = itertools.product((0.3, 1.0), (0.1, 0.5))
        found = [
            minimize(goal, [*size * loss.cross_cov[0], a], tol=1e-14, options={"gtol": 1e-9})
            for size, a in starts
        ]
        best = min(found, key=lambda f: f.fun)
        values.append(best.fun)
        predictors.append(best.x[:5])
    assert_minimal(run, DECAYS, values, predictors, atol=1e-5)


@pytest.mark.parametrize(
    "network",
    [
        lf.Dense((6, 5, 5, 3)),
        lf.Convolution(6, 3, 3),
        lf.Convolution(6, 6, 3),
        lf.Convolution(6, 2, 4, dilation=(1, 2, 1)),
        lf.Convolution(6, 2, 2, stride=2, channels=3, padding="valid"),
        lf.Grouped([(0, 1), (2, 3, 4), (5,)], 2, 1),
    ],
    ids=repr,
)
def test_weights_at_the_end_cost_what_their_predictors_must(network):
    x, y = problem(6, network.n_outputs, seed=3)
    decays = [0.1, 0.03]
    run = descend(network, lf.SquaredLoss.from_data(x, y), decays, step=0.02)
    best = (np.arange(2), np.argmin(objective(run, decays), axis=1))
    total = squares(run)[0]
    assert total[best].min() > 1
    product = network.product([w[best] for w in run.final.weights])
    cost = lf.representation_cost(network, product if network.n_outputs > 1 else product[:, 0])
    assert cost.exact.all()
    assert_allclose(total[best], cost.value, rtol=1e-8)


def test_weights_that_are_not_at_the_end_cost_more_than_their_predictor():
    x, y = problem(6)
    network = lf.Diagonal(6, 2)
    run = descend(network, lf.SquaredLoss.from_data(x, y), DECAYS, n_steps=20)
    cost = lf.representation_cost(network, network.product(run.final.weights)[..., 0, :]).value
    assert (squares(run)[0] > 1.0001 * cost).any()
