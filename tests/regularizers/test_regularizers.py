"""Regularizers: values by their definitions, dual norms by duality, proxes by minimisation."""

from __future__ import annotations

import dataclasses
import itertools
import warnings

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from sklearn.linear_model import ElasticNet as SklearnElasticNet
from support import few

from linnet_fast import regularizers as r

GROUPS = [(0, 1), (2, 3), (4,)]
OVERLAP = [(0, 1, 2), (2, 3), (3, 4), (1, 4)]
ATOMS = np.random.default_rng(3).standard_normal((5, 8))
SIZE = 5
EVERY = [
    r.L1(), r.L2(), r.LInf(), r.SquaredL2(), r.Lp(1.5), r.Lp(3.0), r.Lp(1.02), r.Lp(40.0),
    r.Lp(2 / 3), r.Lp(0.1), r.Lp(1.0), r.WeightedL1([1, 2, 0.5, 3, 1]), r.GroupLasso(GROUPS),
    r.GroupLasso(GROUPS, [1, 2, 0.5]), r.MixedGroup(GROUPS, 1.0, 0.5),
    r.MixedGroup(GROUPS, 2.0, 0.5), r.MixedGroup(GROUPS, 2 / 3, 0.5),
    r.MixedGroup(GROUPS, 1.0, 1.0), r.MixedGroup(GROUPS, 1.5, 0.5),
    r.MixedGroup(GROUPS, 1.5, 1.0), r.MixedGroup(GROUPS, 0.5, 0.5),
    r.LatentGroupLasso(OVERLAP), r.ExclusiveLasso(GROUPS), r.KSupport(1), r.KSupport(2),
    r.KSupport(4), r.KSupport(9), r.OWL([3, 2, 2, 1, 0]), r.ElasticNet(0.7, 0.3),
    r.TotalVariation(), r.Huber(), r.NuclearNorm(), r.SchattenP(0.5), r.SchattenP(1.0),
    r.FourierL1(), r.FourierLp(0.5), r.Atomic(ATOMS), r.InfimalConvolution(r.L1(), r.LInf()),
    r.InfimalConvolution(r.SquaredL2(), r.L1()), r.InfimalConvolution(r.LInf(), r.KSupport(2)),
    r.InfimalConvolution(r.Huber(), r.L2()), r.InfimalConvolution(r.OWL([3, 2, 2, 1, 0]), r.L2()),
    r.InfimalConvolution(r.GroupLasso(GROUPS), r.ExclusiveLasso(GROUPS)),
]  # fmt: skip
NORMS = [x for x in EVERY if x.is_norm]
# The convex ones that a cone program states in a few lines.
CONVEX = [x for x in EVERY if (x.is_convex and not isinstance(x, r.KSupport)) or x == r.KSupport(2)]


def name(regularizer):
    return f"{regularizer!r:.60}"


def draw(regularizer, n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, *((3, 4) if regularizer._n_axes == 2 else (SIZE,))))


def inner(x, y):
    return np.sum(x * y, axis=tuple(range(1, x.ndim)))


def objective(regularizer, z, x, step):
    axes = tuple(range(z.ndim - regularizer._n_axes, z.ndim))
    return 0.5 * np.sum((z - x) ** 2, axis=axes) + step * regularizer.value(z)


def test_every_class_is_tested():
    assert {type(x).__name__ for x in EVERY} == set(r.__all__) - {"Regularizer", "SLOPE"}
    assert r.SLOPE is r.OWL


@pytest.mark.parametrize("regularizer", EVERY, ids=name)
class TestEvery:
    def test_a_batch_equals_one_by_one(self, regularizer):
        x = draw(regularizer, 6).reshape(2, 3, *draw(regularizer, 1).shape[1:])
        step = np.array([[0.3], [1.1]])
        value, prox = regularizer.value(x), regularizer.prox(x, np.broadcast_to(step, (2, 3)))
        assert value.shape == (2, 3)
        assert prox.shape == x.shape
        for at in np.ndindex(2, 3):
            assert_allclose(regularizer.value(x[at]), value[at], rtol=1e-11)
            assert_allclose(regularizer.prox(x[at], step[at[0], 0]), prox[at], atol=1e-10)

    def test_other_types_of_input(self, regularizer):
        x = np.round(3 * draw(regularizer, 2))
        value, prox = regularizer.value(x), regularizer.prox(x, 1.0)
        for other in (x.tolist(), x.astype(int), x.astype(np.float32), np.asfortranarray(x)):
            assert_array_equal(regularizer.value(other), value)
            found = regularizer.prox(other, 1)
            assert_array_equal(found, prox)
            assert found.dtype == np.float64

    def test_zero(self, regularizer):
        x = np.zeros_like(draw(regularizer, 2))
        x[1] = draw(regularizer, 1)[0]
        assert regularizer.value(x)[0] == 0
        assert not regularizer.prox(x, 1.0)[0].any()
        if regularizer.is_norm:
            assert regularizer.dual(x)[0] == 0

    def test_tiny_and_large(self, regularizer):
        x = draw(regularizer, 1)[0]
        for size in (1e-300, 1e-30, 1e30, 1e300):
            y = regularizer.prox(size * x, size)
            assert np.isfinite(y).all()
            if not regularizer.is_norm:
                assert regularizer.value(size * x) > 0 or size < 1e-100
                continue
            assert float(regularizer.value(size * x)) == pytest.approx(
                size * float(regularizer.value(x)), rel=1e-10
            )
            assert float(regularizer.dual(size * x)) == pytest.approx(
                size * float(regularizer.dual(x)), rel=1e-10
            )
            assert_allclose(y / size, regularizer.prox(x, 1.0), atol=1e-9)

    def test_tiny_and_large_steps(self, regularizer):
        x = draw(regularizer, 2)
        assert_allclose(regularizer.prox(x, 1e-14), x, atol=1e-12)
        assert_allclose(regularizer.prox(x, 1e-300), x, atol=1e-12)
        assert_allclose(regularizer.prox(x, 1e14), 0, atol=1e-13)
        assert_allclose(regularizer.prox(x, 1e300), 0, atol=1e-13)

    def test_entries_of_very_different_size(self, regularizer):
        x = draw(regularizer, 1)[0]
        x.flat[1:3] = 1e-300, -1e-12
        for step in (1e-6, 0.3):
            y = regularizer.prox(x, step)
            assert np.isfinite(regularizer.value(x))
            others = y + 1e-3 * draw(regularizer, 6, 4)
            best = objective(regularizer, y, x, step)
            assert objective(regularizer, others, x, step).min() >= best - 1e-12

    def test_no_point_is_better_than_the_prox(self, regularizer):
        rng = np.random.default_rng(1)
        pairs = zip(draw(regularizer, 3, seed=5), (0.05, 0.4, 1.5), strict=True)
        for x, step in few(pairs, 2):
            y = regularizer.prox(x, step)
            best = float(objective(regularizer, y, x, step))
            scale = 10.0 ** rng.uniform(-5, 0.5, 20).reshape(-1, *(1,) * x.ndim)
            moved = y + scale * rng.standard_normal((20, *x.shape))
            masked = np.where(rng.random(moved.shape) < 0.4, 0.0, moved)
            toward = y + rng.random((10, *(1,) * x.ndim)) * (x - y)
            others = np.concatenate([moved, masked, toward, np.zeros_like(moved[:1])])
            assert objective(regularizer, others, x, step).min() >= best - 1e-11 * (1 + best)

    def test_repr_names_it_and_equal_ones_are_equal(self, regularizer):
        fields = {f.name: getattr(regularizer, f.name) for f in dataclasses.fields(regularizer)}
        again = type(regularizer)(**fields)
        assert type(regularizer).__name__ in repr(regularizer)
        assert again == regularizer
        assert hash(again) == hash(regularizer)

    def test_bad_input(self, regularizer):
        x = draw(regularizer, 2)
        with pytest.raises(ValueError, match="step must be > 0, got 0"):
            regularizer.prox(x, 0.0)
        with pytest.raises(ValueError, match="step must have run axes"):
            regularizer.prox(x, [1.0, 1.0, 1.0])
        with pytest.raises(ValueError, match="x must be finite"):
            regularizer.value(x * np.nan)
        with pytest.raises(ValueError, match="x must have shape"):
            regularizer.value(1.0)
        with pytest.raises(ValueError, match="x must not be empty"):
            regularizer.prox(x[:0], 1.0)
        with pytest.raises(TypeError, match="x must be a real number"):
            regularizer.value("abc")
        if not regularizer.is_norm:
            with pytest.raises(TypeError, match="is not a norm"):
                regularizer.dual(x)


@pytest.mark.parametrize("norm", NORMS, ids=name)
class TestNorms:
    def test_duality(self, norm):
        x, z = draw(norm, 20, 1), draw(norm, 20, 2)
        assert (inner(x, z) <= norm.value(x) * norm.dual(z) * (1 + 1e-11)).all()

    def test_dual_is_attained(self, norm):
        # With a step just below the dual norm of z, the prox y has <z, y> >= step value(y).
        z = draw(norm, 5, 2)
        dual = norm.dual(z)
        y = norm.prox(z, 0.9999 * dual)
        value = norm.value(y)
        assert (value > 1e-8).all()
        assert (inner(z, y) >= 0.9999 * dual * value * (1 - 1e-9)).all()
        assert_array_equal(norm.prox(z, 1.0001 * dual), 0 * z)

    def test_prox_and_projection_add_up(self, norm):
        # Moreau: x - prox is in the dual ball, on its border unless the prox is 0, and aligned.
        x = draw(norm, 8, 3)
        step = np.linspace(0.1, 1.0, 8)
        y = norm.prox(x, step)
        rest = x - y
        assert (norm.dual(rest) <= step * (1 + 1e-10)).all()
        assert_allclose(inner(rest, y), step * norm.value(y), atol=1e-10)
        assert norm.value(y).max() > 0

    def test_triangle_and_scaling(self, norm):
        x, y = draw(norm, 10, 4), draw(norm, 10, 5)
        assert (norm.value(x + y) <= (norm.value(x) + norm.value(y)) * (1 + 1e-11)).all()
        assert_allclose(norm.value(-3 * x), 3 * norm.value(x), rtol=1e-10)


def as_program(penalty, y):
    """Return a regularizer of a cvxpy variable, with constraints."""
    if isinstance(penalty, r.InfimalConvolution):
        a = cp.Variable(y.shape)
        first, one = as_program(penalty.first, a)
        second, two = as_program(penalty.second, y - a)
        return first + second, one + two
    if isinstance(penalty, r.Atomic):
        c = cp.Variable(len(penalty.atoms[0]))
        return cp.norm1(c), [np.array(penalty.atoms) @ c == y]
    groups = getattr(penalty, "groups", None)
    if isinstance(penalty, r.KSupport):
        groups = itertools.combinations(range(SIZE), penalty.k)
    if isinstance(penalty, (r.LatentGroupLasso, r.KSupport)):
        units = [(np.eye(SIZE)[:, list(g)], cp.Variable(len(g))) for g in groups]
        return sum(cp.norm(u) for _, u in units), [sum(e @ u for e, u in units) == y]
    if isinstance(penalty, (r.GroupLasso, r.MixedGroup)):
        weights = getattr(penalty, "weights", None) or (1.0,) * len(groups)
        p = getattr(penalty, "p", 2)
        pairs = zip(weights, groups, strict=True)
        return sum(w * cp.pnorm(y[list(g)], p, approx=False) for w, g in pairs), []
    if isinstance(penalty, r.ExclusiveLasso):
        return cp.norm(cp.hstack([cp.norm1(y[list(g)]) for g in groups])), []
    if isinstance(penalty, r.OWL):
        # Differences of weights times sums of the largest.
        steps = -np.diff((*penalty.weights, 0.0))
        pairs = enumerate(steps, start=1)
        return sum(d * cp.sum_largest(cp.abs(y), k) for k, d in pairs if d), []
    if isinstance(penalty, r.FourierL1):
        transform = np.fft.fft(np.eye(SIZE))
        return cp.sum(
            cp.norm(cp.vstack([transform.real @ y, transform.imag @ y]), axis=0)
        ) / SIZE, []
    plain = {
        r.L1: cp.norm1,
        r.L2: cp.norm,
        r.LInf: cp.norm_inf,
        r.SquaredL2: cp.sum_squares,
        r.Huber: lambda y: cp.sum(cp.huber(y)),
        r.TotalVariation: lambda y: cp.abs(y[0]) + cp.norm1(cp.diff(y)),
        r.NuclearNorm: cp.normNuc,
        r.SchattenP: cp.normNuc,
        r.Lp: lambda y: cp.pnorm(y, penalty.p, approx=False),
        r.WeightedL1: lambda y: cp.norm1(cp.multiply(penalty.weights, y)),
        r.ElasticNet: lambda y: penalty.l1 * cp.norm1(y) + penalty.l2 * cp.sum_squares(y),
    }
    return plain[type(penalty)](y), []


def least(goal, constraints):
    # More than the solver can reach at times, then it warns.
    tight = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-11)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Solution may be inaccurate")
        return cp.Problem(cp.Minimize(goal), constraints).solve(solver="CLARABEL", **tight)


@pytest.mark.parametrize("penalty", CONVEX, ids=name)
def test_values_and_proxes_by_cone_programs(penalty):
    shape = draw(penalty, 1).shape[1:]
    for x, step in zip(draw(penalty, 2, 11), (0.15, 0.5), strict=True):
        y = cp.Variable(shape)
        value, constraints = as_program(penalty, y)
        found = least(value, [*constraints, y == x])
        assert float(penalty.value(x)) == pytest.approx(found, rel=1e-7)
        goal = 0.5 * cp.sum_squares(y - x) + step * value
        found = least(goal, constraints)
        own = penalty.prox(x, step)
        assert float(objective(penalty, own, x, step)) == pytest.approx(found, rel=1e-8)
        assert_allclose(own, y.value, atol=2e-6)


@pytest.mark.parametrize("penalty", [x for x in EVERY if not x.is_convex], ids=name)
def test_prox_of_quasi_norms_by_many_starts(penalty):
    rng = np.random.default_rng(0)
    shape = draw(penalty, 1).shape[1:]
    for step in (0.1, 0.5):
        x = 1.5 * rng.standard_normal(shape)

        def goal(flat, x=x, step=step):
            return float(objective(penalty, flat.reshape(shape), x, step))

        best = goal(penalty.prox(x, step).ravel())
        for _ in few(range(3), 1):
            start = x.ravel() * rng.random(x.size)
            found = minimize(goal, start, method="Nelder-Mead", options={"maxiter": 1500})
            assert found.fun >= best - 1e-9


class TestValues:
    x = np.random.default_rng(7).standard_normal((4, SIZE))

    def test_latent_groups_without_overlap_are_groups(self):
        own = r.LatentGroupLasso(GROUPS).value(self.x)
        assert_allclose(own, r.GroupLasso(GROUPS).value(self.x), rtol=1e-12)

    def test_latent_groups_cover_or_cost_infinity(self):
        norm = r.LatentGroupLasso([(0, 1)])
        assert_array_equal(norm.value([[3.0, 4.0, 0.0], [3.0, 4.0, 1e-9]]), [5, np.inf])

    def test_k_support_is_a_latent_group_norm(self):
        for k in (1, 2, 3, 4, 5):
            groups = list(itertools.combinations(range(SIZE), k))
            expected = r.LatentGroupLasso(groups).value(self.x)
            assert_allclose(r.KSupport(k).value(self.x), expected, rtol=1e-10)

    def test_k_support_of_equal_entries(self):
        assert float(r.KSupport(2).value([1.0, 1.0, 1.0, 1.0])) == pytest.approx(8**0.5, rel=1e-15)

    def test_exclusive_lasso_is_a_latent_group_norm_of_transversals(self):
        groups = list(itertools.product(*GROUPS))
        expected = r.LatentGroupLasso(groups).value(self.x)
        assert_allclose(r.ExclusiveLasso(GROUPS).value(self.x), expected, rtol=1e-10)

    def test_owl_is_a_maximum_over_orders(self):
        w = (3, 2, 2, 1, 0)
        orders = np.array(list(itertools.permutations(w)))
        expected = (np.abs(self.x) @ orders.T).max(axis=-1)
        assert_allclose(r.OWL(w).value(self.x), expected, rtol=1e-14)

    def test_atoms_that_do_not_reach(self):
        assert float(r.Atomic([[1.0], [1.0]]).value([1.0, 2.0])) == np.inf

    def test_one_coordinate(self):
        one = [(0,)]
        plain = [
            r.L1(), r.L2(), r.LInf(), r.Lp(1.5), r.Lp(4.0), r.WeightedL1([1.0]), r.KSupport(3),
            r.OWL([1.0]), r.TotalVariation(), r.FourierL1(), r.Atomic([[1.0]]),
            r.GroupLasso(one), r.ExclusiveLasso(one), r.LatentGroupLasso(one),
            r.MixedGroup(one, 1.5, 1.0), r.InfimalConvolution(r.L1(), r.WeightedL1([3.0])),
        ]  # fmt: skip
        x = np.array([[-3.0], [0.0], [0.25], [2.0]])
        for norm in plain:
            assert_allclose(norm.value(x), np.abs(x[:, 0]), rtol=1e-12)
            assert_allclose(norm.prox(x, 0.5), [[-2.5], [0], [0], [1.5]], atol=1e-11)
        assert_allclose(r.NuclearNorm().prox(x[..., None], 0.5)[:, 0, 0], [-2.5, 0, 0, 1.5])
        power = r.Lp(0.5)
        for other in (
            r.MixedGroup(one, 0.8, 0.5), r.MixedGroup(one, 2.0, 0.5), r.FourierLp(0.5)
        ):  # fmt: skip
            assert_allclose(other.value(x), power.value(x), rtol=1e-14)
            assert_allclose(other.prox(x, 0.5), power.prox(x, 0.5), atol=1e-13)
        assert_allclose(r.SchattenP(0.5).prox(x[..., None], 0.5)[..., 0], power.prox(x, 0.5))

    def test_matrices(self):
        m = np.random.default_rng(1).standard_normal((4, 3))
        assert_allclose(r.NuclearNorm().value(m), np.linalg.norm(m, "nuc"), rtol=1e-14)
        assert_allclose(r.NuclearNorm().dual(m), np.linalg.norm(m, 2), rtol=1e-14)

    def test_rounding_is_no_mode_and_no_rank(self):
        one = np.outer([1.0, 2.0, 3.0], [0.3, 0.1, 0.7, -0.2])
        expected = np.linalg.norm(one) ** 0.1
        assert float(r.SchattenP(0.1).value(one)) == pytest.approx(expected, rel=1e-12)
        constant = r.FourierLp(0.1).value(np.full(7, 0.3))
        assert float(constant) == pytest.approx(2.1**0.1 / 7, rel=1e-12)
        wave = r.FourierLp(0.1).value(np.cos(2 * np.pi * np.arange(7) / 7))
        assert float(wave) == pytest.approx(2 * 3.5**0.1 / 7, rel=1e-12)


class TestInfimalConvolution:
    x = 2 * np.random.default_rng(8).standard_normal((6, SIZE))

    def test_with_a_square_it_is_huber(self):
        parts = r.SquaredL2(), r.WeightedL1([2.0] * SIZE)
        step = np.geomspace(0.01, 10, 6)
        for first, second in (parts, parts[::-1]):
            mixed = r.InfimalConvolution(first, second)
            assert_allclose(mixed.value(self.x), r.Huber().value(self.x), rtol=1e-14)
            assert_allclose(mixed.prox(self.x, step), r.Huber().prox(self.x, step), atol=1e-14)

    def test_a_lesser_part_is_all(self):
        mixed = r.InfimalConvolution(r.L1(), r.L2())
        assert_allclose(mixed.value(self.x), r.L2().value(self.x), rtol=1e-14)
        assert_allclose(mixed.prox(self.x, 0.7), r.L2().prox(self.x, 0.7), atol=1e-11)

    def test_units_side_by_side_are_one_latent_group_norm(self):
        one, two = r.LatentGroupLasso(OVERLAP[:2]), r.LatentGroupLasso(OVERLAP[2:])
        mixed, both = r.InfimalConvolution(one, two), r.LatentGroupLasso(OVERLAP)
        assert_allclose(mixed.value(self.x), both.value(self.x), rtol=1e-9)
        assert_allclose(mixed.prox(self.x, 0.5), both.prox(self.x, 0.5), atol=1e-9)

    def test_infinite_where_no_part_reaches(self):
        one = r.InfimalConvolution(r.LatentGroupLasso([(0, 1)]), r.LatentGroupLasso([(1, 2)]))
        found = one.value([[3.0, 0.0, 4.0, 0.0], [3.0, 0.0, 4.0, 1.0]])
        assert_allclose(found, [7.0, np.inf], rtol=1e-10)
        assert_allclose(one.prox([3.0, 0.0, 4.0, 1.0], 1.0), [2.0, 0.0, 3.0, 0.0], atol=1e-10)
        atoms = r.InfimalConvolution(r.Atomic([[1.0], [1.0]]), r.LatentGroupLasso([(1,)]))
        assert float(atoms.value([1.0, 3.0])) == pytest.approx(3.0, rel=1e-9)

    def test_of_matrices(self):
        m = np.random.default_rng(2).standard_normal((3, 4))
        mixed = r.InfimalConvolution(r.NuclearNorm(), r.SchattenP(1.0))
        assert float(mixed.value(m)) == pytest.approx(float(r.NuclearNorm().value(m)), rel=1e-11)
        assert_allclose(mixed.prox(m, 0.4), r.NuclearNorm().prox(m, 0.4), atol=1e-11)

    def test_three_parts(self):
        parts = r.LInf(), r.GroupLasso(GROUPS), r.OWL([3, 2, 2, 1, 0])
        left = r.InfimalConvolution(r.InfimalConvolution(*parts[:2]), parts[2])
        right = r.InfimalConvolution(parts[0], r.InfimalConvolution(*parts[1:]))
        assert_allclose(left.value(self.x[:2]), right.value(self.x[:2]), rtol=1e-8)
        assert_allclose(left.prox(self.x[:2], 0.5), right.prox(self.x[:2], 0.5), atol=1e-8)

    @settings(max_examples=15)
    @given(st.integers(2, 24), st.integers(0, 10**6), st.floats(-6, 1))
    def test_the_gap_to_the_dual_closes(self, size, seed, log_step):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((3, size)) * (rng.random((3, size)) < 0.7)
        parts = [
            r.LInf(), r.KSupport(1 + size // 3), r.TotalVariation(), r.Lp(1.5), r.FourierL1(),
            r.GroupLasso([range(0, size, 2), range(1, size, 2)], [1.0, 2.0]),
        ]  # fmt: skip
        first, second = rng.choice(len(parts), 2, replace=False)
        mixed = r.InfimalConvolution(parts[first], parts[second])
        # x less its prox, in units of the step, is a dual vector: <z, y> <= value(y).
        step = 10.0**log_step
        y = mixed.prox(x, step)
        rest = x - y
        assert (mixed.dual(rest) <= step + 1e-10).all()
        assert_allclose(inner(rest, y), step * mixed.value(y), atol=1e-9 * np.sqrt(size))


class TestTotalVariation:
    def test_long_vectors_by_least_distance_programming(self):
        x = np.cumsum(np.random.default_rng(0).standard_normal((3, 60)), axis=-1)
        atoms = r.Atomic(np.tril(np.ones((60, 60))))
        step = np.array([0.1, 1.0, 20.0])
        norm = r.TotalVariation()
        assert_allclose(norm.prox(x, step), atoms.prox(x, step), atol=1e-9)
        assert_allclose(norm.dual(x), atoms.dual(x), rtol=1e-14)

    def test_longer_ones_by_duality(self):
        x = np.cumsum(np.random.default_rng(1).standard_normal((4, 2000)), axis=-1)
        step = np.array([0.01, 1.0, 100.0, 5000.0])
        y = r.TotalVariation().prox(x, step)
        assert (r.TotalVariation().dual(x - y) <= step + 1e-9).all()
        assert_allclose(inner(x - y, y), step * r.TotalVariation().value(y), rtol=1e-9)
        assert (np.count_nonzero(np.diff(y), axis=-1) < [2000, 900, 200, 60]).all()


class TestElasticNet:
    def test_weights_and_predictors(self):
        penalty = r.ElasticNet(0.8, 0.3)
        b = np.concatenate([[0.0, 1e-300, -1e-12, 1e-3], np.linspace(-5, 5, 9), [1e150]])
        w = penalty.predictor_to_weights(b)
        assert_allclose(penalty.weights_to_predictor(w), b, rtol=1e-14)
        assert_allclose(np.sum(w[4:13] ** 2), penalty.value(b[4:13]), rtol=1e-14)

    def test_augmented_data_add_the_square(self):
        rng = np.random.default_rng(0)
        x, y = rng.standard_normal((30, 4)), rng.standard_normal((30, 1))
        penalty = r.ElasticNet(0.2, 0.15)
        more_x, more_y = penalty.augment(x, y)
        for b in rng.standard_normal((3, 4)):
            own = np.sum((y[:, 0] - x @ b) ** 2) / 60 + 0.15 * b @ b
            assert np.sum((more_y[:, 0] - more_x @ b) ** 2) / (2 * len(more_x)) == pytest.approx(
                own
            )
        alpha, share = 0.2 + 0.3, 0.2 / 0.5
        model = SklearnElasticNet(alpha=alpha, l1_ratio=share, fit_intercept=False, tol=1e-12)
        b = model.fit(x, y[:, 0]).coef_
        gradient = more_x.T @ (more_x @ b - more_y[:, 0]) / len(more_x)
        assert_allclose(gradient[b != 0], -0.2 * np.sign(b[b != 0]), atol=1e-6)
        assert (np.abs(gradient[b == 0]) <= 0.2 + 1e-6).all()


@st.composite
def norms_with_vectors(draw):
    """Draw a norm with random groups, weights and size, and a vector, with ties and zeros."""
    size = draw(st.integers(1, 8))
    owner = draw(st.lists(st.integers(0, size - 1), min_size=size, max_size=size))
    groups = [[i for i in range(size) if owner[i] == g] for g in sorted(set(owner))]
    more = draw(st.lists(st.sets(st.integers(0, size - 1), min_size=1), max_size=3))
    weights = draw(st.lists(st.floats(0.1, 5), min_size=size, max_size=size))
    norm = draw(
        st.sampled_from([
            r.LInf(), r.L2(), r.Lp(draw(st.floats(1.05, 20))), r.KSupport(draw(st.integers(1, 9))),
            r.OWL(sorted(weights, reverse=True)), r.WeightedL1(weights), r.TotalVariation(),
            r.GroupLasso(groups, weights[: len(groups)]), r.ExclusiveLasso(groups),
            r.LatentGroupLasso(groups + [sorted(g) for g in more]), r.FourierL1(),
        ])
    )  # fmt: skip
    entry = st.one_of(st.integers(-3, 3), st.floats(-100, 100).map(lambda v: round(v, 6)))
    x = draw(st.lists(entry, min_size=size, max_size=size))
    return norm, np.array(x, dtype=float) * 10.0 ** draw(st.sampled_from([-200, 0, 0, 200]))


@settings(max_examples=250)
@given(norms_with_vectors(), st.floats(-8, 2))
def test_proxes_of_any_norm_and_vector(drawn, log_step):
    norm, x = drawn
    size = np.abs(x).max()
    step = (size or 1.0) * 10.0**log_step
    y = norm.prox(x, step)
    assert float(norm.dual(x - y)) <= step * (1 + 1e-9) + 1e-11 * size
    unit = size or 1.0
    aligned = np.dot((x - y) / unit, y / unit)
    assert aligned == pytest.approx(step / unit * float(norm.value(y)) / unit, rel=1e-9, abs=1e-9)


@settings(max_examples=40)
@given(
    st.floats(0.05, 2.0),
    st.floats(0.02, 1.0),
    st.floats(-3, 1),
    st.lists(st.floats(0.01, 3), min_size=2, max_size=3),
)
def test_prox_of_mixed_groups_is_global(p, share, log_step, entries):
    # On each support, in logarithms of the entries, the objective is smooth: many descents.
    power = share * min(p, 1.0)
    x, step = np.array(entries), 10.0**log_step
    penalty = r.MixedGroup([range(len(x))], p, power)
    best = float(objective(penalty, penalty.prox(x, step), x, step))
    assert best <= float(objective(penalty, 0 * x, x, step))
    for n in range(1, len(x) + 1):
        for support in map(list, itertools.combinations(range(len(x)), n)):

            def goal(u, support=support):
                z = np.zeros_like(x)
                z[support] = np.exp(np.clip(u, -40, 3))
                return float(objective(penalty, z, x, step))

            for shrunk in (1.0, 0.6, 0.2):
                found = minimize(goal, np.log(shrunk * x[support]), method="BFGS")
                assert best <= found.fun + 1e-9


def test_prox_of_mixed_groups_of_entries_far_apart():
    # Where one large entry and many small ones take turns, there are several local minima.
    x = np.array([1.0, *(3e-3,) * 40])
    for p in (1.0, 1.3, 0.7):
        penalty = r.MixedGroup([range(41)], p, 0.4)
        for step in (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.3):
            best = float(objective(penalty, penalty.prox(x, step), x, step))
            large, small = np.meshgrid(np.linspace(0, 1, 101), np.linspace(0, 3e-3, 101))
            z = np.concatenate(
                [large.reshape(-1, 1), np.repeat(small.reshape(-1, 1), 40, axis=-1)], axis=-1
            )
            assert best <= objective(penalty, z, x, step).min()


@settings(max_examples=60)
@given(st.floats(1e-3, 0.999), st.floats(-1e3, 1e3), st.floats(1e-6, 1e3))
def test_power_prox_is_global(power, x, step):
    y = float(r.Lp(power).prox([x], step)[0])
    grid = np.concatenate([[0.0, x, y], np.linspace(0, x, 4001)])
    values = 0.5 * (grid - x) ** 2 + step * np.abs(grid) ** power
    best = 0.5 * (y - x) ** 2 + step * abs(y) ** power
    assert best <= values.min() * (1 + 1e-12) + 1e-12


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: r.Lp(0.0), ValueError, "p must be > 0"),
        (lambda: r.Lp(np.inf), ValueError, "p must be finite"),
        (lambda: r.WeightedL1([1, 0]), ValueError, "weights must be > 0"),
        (lambda: r.WeightedL1([1, 2]).value([1.0]), ValueError, "x must have 2 coordinates"),
        (lambda: r.GroupLasso([(0, 2)]), ValueError, "disjoint and together 0"),
        (lambda: r.GroupLasso([(0,), ()]), ValueError, r"groups\[1\] must be different"),
        (lambda: r.GroupLasso([(0,)], [1, 2]), ValueError, "one per group, 1, got 2"),
        (lambda: r.GroupLasso("ab"), TypeError, "sequence of sequences"),
        (lambda: r.MixedGroup([(0,)], 1.0, 1.5), ValueError, "0 < power <= 1"),
        (lambda: r.LatentGroupLasso([(0, 3)]).value([1.0]), ValueError, "at least 4 coordinates"),
        (lambda: r.KSupport(0), ValueError, "k must be >= 1"),
        (lambda: r.OWL([1, 2]), ValueError, "must not increase"),
        (lambda: r.OWL([0, 0]), ValueError, "begin with a positive"),
        (lambda: r.ElasticNet(1.0, 0.0), ValueError, "l2 must be > 0"),
        (lambda: r.ElasticNet([1.0], 1.0), TypeError, "l1 must be a single number"),
        (lambda: r.ElasticNet(1.0, 1.0).augment([[1.0]], [1.0]), ValueError, r"\(n, k\)"),
        (lambda: r.SchattenP(1.5), ValueError, "between 0 and 1"),
        (lambda: r.FourierLp(1.0), ValueError, "between 0 and 1"),
        (lambda: r.Atomic([[0.0], [0.0]]), ValueError, "every column with an entry"),
        (lambda: r.InfimalConvolution(r.L1(), r.Lp(0.5)), ValueError, "second must be convex"),
        (lambda: r.InfimalConvolution(r.L1(), r.NuclearNorm()), ValueError, "both be of vectors"),
        (lambda: r.InfimalConvolution(r.L1(), 3), TypeError, "second must be a Regularizer"),
        (lambda: r.NuclearNorm().value([1.0]), ValueError, "out, in"),
    ],
)
def test_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
