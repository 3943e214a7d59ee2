"""Teachers: what they draw, by what laws, by which seeds, and what they refuse."""

from __future__ import annotations

import pickle
from functools import partial

import numpy as np
import pytest
import teachers_by_hand as by_hand
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

import linnet_fast as lf
from linnet_fast.training import plain

COV = np.array([[1.5, 0.5, 0.0], [0.5, 1.0, -0.3], [0.0, -0.3, 0.6]])
KINDS = {
    "gaussian": {},
    "low_rank": {"rank": 1},
    "diagonal": {},
    "power_law": {"exponent": 1.5},
    "sparse": {"n_nonzero": 2},
    "given": {"matrix": [[1.0, 0.0, -2.0], [0.5, 1.0, 0.0]]},
}
EVERY = pytest.mark.parametrize("kind", KINDS)


def make(kind, **options):
    sizes = {} if kind == "given" else {"n_inputs": 3, "n_outputs": 2}
    return lf.Teacher(kind, **(sizes | KINDS[kind] | options))


MANY = 4000


def fits(values, law, level=1e-3):
    """Assert that numbers follow a law, by Kolmogorov and Smirnov; seeds are fixed, so is the answer."""
    assert stats.kstest(np.ravel(values), law).pvalue > level


# -- the plain form ----------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("cov", [None, COV, ("power_law", 0.7), ("wishart", 4)], ids=str)
def test_data_are_those_of_the_plain_form(kind, cov):
    teacher = make(kind, scale=1.5, noise=0.3, n_samples=5, input_cov=cov)
    product = np.arange(6.0).reshape(2, 3) / 7
    for seed, rng in ((0, 0), (11, 0), (11, 7)):
        x, y, p = by_hand.samples(teacher, seed, rng)
        assert_allclose(teacher.draw(seed, rng=rng), p, atol=1e-13)
        loss = teacher.loss(seed, rng=rng)
        assert_allclose(loss.input_cov, x.T @ x / 5, atol=1e-12)
        assert_allclose(loss.cross_cov, y.T @ x / 5, atol=1e-12)
        value = 0.1 * np.sum((y - x @ product.T) ** 2)
        assert_allclose(loss.value(product), value, rtol=1e-12)
        risk = teacher.population.loss(seed, rng=rng)
        assert_allclose(risk.value(product), by_hand.risk(teacher, seed, product, rng), rtol=1e-12)
        assert_allclose(risk.value(p), 0.09, rtol=1e-12)  # nothing is left but noise


@pytest.mark.parametrize("noise", [0.0, 0.4])
def test_labels_are_those_of_the_plain_form(noise):
    signs = make("gaussian", target="signs", n_samples=30, input_cov=COV, noise=noise)
    x, y, _ = by_hand.samples(signs, 3)
    loss = signs.loss(3)
    assert_allclose(loss.inputs, x, atol=1e-13)
    assert_array_equal(loss.labels, y)
    one = lf.Teacher("sparse", n_inputs=4, n_nonzero=1, target="signs", n_samples=9, noise=noise)
    assert_array_equal(one.loss(3).labels, by_hand.samples(one, 3)[1][:, 0])
    classes = make("gaussian", target="classes", n_samples=30, noise=noise)
    assert_array_equal(classes.loss(3).targets, by_hand.samples(classes, 3)[1])


def test_the_population_of_signs_is_the_mean_over_the_law():
    teacher = lf.Teacher("gaussian", n_inputs=3, target="signs", noise=0.1, n_samples=40_000)
    p = teacher.draw(2)
    product = np.array([[0.5, -1.0, 0.2]])
    risk = teacher.population.loss(2)
    assert_allclose(np.abs(risk.direction @ p[0]), np.linalg.norm(p), rtol=1e-14)
    assert_allclose(risk.value(product), teacher.loss(2).value(product), rtol=0.02)


# -- laws --------------------------------------------------------------------------------------------


def test_gaussian_entries():
    p = make("gaussian", scale=2.0).draw(batch_shape=MANY)
    fits(p * np.sqrt(3) / 2, "norm")
    flat = p.reshape(MANY, 6)
    assert np.abs(np.corrcoef(flat.T) - np.eye(6)).max() < 5 / np.sqrt(MANY)


def test_low_rank_products():
    p = lf.Teacher("low_rank", n_inputs=6, n_outputs=4, rank=2).draw(batch_shape=MANY)
    values = np.linalg.svd(p[:50], compute_uv=False)
    assert (values[:, 2:] < 1e-14).all()
    assert (values[:, 1] > 1e-3).all()
    assert_allclose(np.mean(p**2), 1 / 6, rtol=0.03)


def test_diagonals():
    p = make("diagonal").draw(batch_shape=MANY)
    fits(np.diagonal(p, axis1=1, axis2=2), "norm")
    assert not p[:, ~np.eye(2, 3, dtype=bool)].any()
    strengths = make("diagonal", strengths=[3.0, -1.0], scale=2.0).draw(5)
    assert_array_equal(strengths, [[6.0, 0.0, 0.0], [0.0, -2.0, 0.0]])


def test_power_laws_have_uniform_directions():
    teacher = lf.Teacher("power_law", n_inputs=5, n_outputs=3, exponent=2.0)
    p = teacher.draw(batch_shape=MANY)
    left, values, right = np.linalg.svd(p, full_matrices=False)
    assert_allclose(values, np.broadcast_to([1, 1 / 4, 1 / 9], (MANY, 3)), rtol=1e-12)
    for vectors, n in ((left[..., 0], 3), (right[:, 1], 5)):
        fits(vectors[:, 1] ** 2, stats.beta(0.5, (n - 1) / 2).cdf)


def test_sparse_places_and_signs_are_uniform():
    teacher = lf.Teacher("sparse", n_inputs=4, n_outputs=2, n_nonzero=3)
    p = teacher.draw(batch_shape=MANY).reshape(MANY, 8)
    assert ((p != 0).sum(axis=1) == 3).all()
    assert_allclose((p**2).sum(axis=1), 2.0, rtol=1e-14)
    patterns = (p != 0) @ 2 ** np.arange(8)
    _, counts = np.unique(patterns, return_counts=True)
    assert len(counts) == 56  # 8 choose 3
    assert stats.chisquare(counts).pvalue > 1e-3
    n_plus = (p > 0).sum(axis=1)
    expected = MANY * np.array([1, 3, 3, 1]) / 8
    assert stats.chisquare(np.bincount(n_plus, minlength=4), expected).pvalue > 1e-3
    positive = lf.Teacher("sparse", n_inputs=4, n_outputs=2, n_nonzero=3, positive=True)
    assert_array_equal(positive.draw(batch_shape=9), np.abs(p[:9].reshape(9, 2, 4)))


@pytest.mark.parametrize("cov", [None, COV, ("power_law", 0.7)], ids=str)
def test_inputs_have_their_covariance(cov):
    teacher = make("gaussian", input_cov=cov, n_samples=1, noise=0.5)
    loss = teacher.loss(batch_shape=MANY)
    x, y = loss.inputs[:, 0], loss.outputs[:, 0]
    whole = teacher.population.loss(0).input_cov
    fits(np.linalg.solve(np.linalg.cholesky(whole), x.T), "norm")
    residual = y - np.einsum("roi,ri->ro", teacher.draw(batch_shape=MANY), x)
    fits(residual / 0.5, "norm")
    together = np.concatenate([x, residual], axis=1)
    assert np.abs(np.corrcoef(together.T)[:3, 3:]).max() < 4 / np.sqrt(MANY)


def test_wishart_covariances_and_inputs():
    teacher = make("gaussian", input_cov=("wishart", 5), n_samples=2)
    cov = teacher.population.loss(batch_shape=MANY).input_cov
    fits(5 * np.trace(cov, axis1=1, axis2=2), stats.chi2(15).cdf)
    assert_allclose(cov.mean(axis=0), np.eye(3), atol=0.05)
    x = teacher.loss(batch_shape=MANY).for_batches().inputs[:, 0]
    fits(np.linalg.solve(np.linalg.cholesky(cov), x[..., None]), "norm")
    few = lf.Teacher("gaussian", n_inputs=4, input_cov=("wishart", 2)).loss(1)
    assert np.linalg.matrix_rank(few.input_cov) == 2


def test_samples_of_many_inputs_need_no_covariance():
    for cov in (None, ("power_law", 0.5)):
        teacher = lf.Teacher("sparse", n_inputs=10**5, n_nonzero=2, n_samples=3, input_cov=cov)
        assert teacher.loss(1).inputs.shape == (3, 10**5)
        with pytest.raises(ValueError, match="n_inputs must fit into memory"):
            lf.Teacher("sparse", n_inputs=10**6, n_nonzero=2, input_cov=cov).loss()


def test_inputs_of_a_singular_covariance_stay_in_its_range():
    cov = np.outer([1.0, 2.0, 0.0], [1.0, 2.0, 0.0])
    x = make("gaussian", input_cov=cov, n_samples=1).loss(batch_shape=MANY).inputs[:, 0]
    assert_allclose(x[:, 1], 2 * x[:, 0], rtol=1e-14)
    assert not x[:, 2].any()
    fits(x[:, 0], "norm")


def test_labels_are_wrong_as_often_as_said():
    options = {"n_inputs": 3, "n_samples": 10_000}
    signs = [
        lf.Teacher("gaussian", target="signs", noise=noise, **options).loss(1).labels
        for noise in (0.0, 0.2)
    ]
    assert_allclose(np.mean(signs[0] != signs[1]), 0.2, atol=0.02)
    targets = [
        lf.Teacher("gaussian", n_outputs=4, target="classes", noise=noise, **options)
        .loss(1)
        .targets
        for noise in (0.0, 0.2)
    ]
    assert_allclose(np.mean((targets[0] != targets[1]).any(axis=1)), 0.2 * 3 / 4, atol=0.02)


# -- seeds -------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(sorted(KINDS)),
    st.sampled_from([None, 1, 7]),
    st.sampled_from([None, ("power_law", 1.0), ("wishart", 3)]),
    st.lists(st.integers(0, 2**53 - 1), min_size=1, max_size=6),
    st.sampled_from([0.0, [0.1], [[0.1], [0.4]]]),
)
def test_bits_depend_on_the_data_seed_alone(kind, n_samples, cov, seeds, noise):
    teacher = make(kind, n_samples=n_samples, input_cov=cov, noise=noise)
    together = teacher.loss(seeds)
    runs = np.broadcast_shapes(np.shape(noise), (len(seeds),))
    assert together.run_shape == runs
    product = np.array([[0.3, 1.0, -1.0], [2.0, 0.1, 0.0]])
    for run in np.ndindex(runs):
        own = np.broadcast_to(noise, runs)[run]
        alone = make(kind, n_samples=n_samples, input_cov=cov, noise=own).loss(seeds[run[-1]])
        part = together.of_run(run, runs)
        for name, n_inner in together.inner_axes.items():
            if (array := getattr(alone, name)) is not None:
                assert array.ndim == n_inner
                assert_array_equal(getattr(part, name), array)
        assert_array_equal(together.value(product)[run], alone.value(product))
        assert_array_equal(together.minimizer[run], alone.minimizer)


def test_what_changes_with_what():
    base = make("gaussian", n_samples=4, noise=0.1, input_cov=("wishart", 5))
    p = base.draw(batch_shape=3)
    assert len(np.unique(p)) == p.size
    louder = make("gaussian", n_samples=4, noise=0.2, scale=3.0, input_cov=("wishart", 5))
    assert_allclose(louder.draw(batch_shape=3), 3 * p, rtol=1e-15)
    assert_array_equal(louder.loss(2).input_cov, base.loss(2).input_cov)
    more = make("gaussian", n_samples=8, noise=0.1, input_cov=("wishart", 5))
    assert_array_equal(more.draw(2), p[2])  # the same teacher
    mine, other = (t.loss(2).for_batches().inputs for t in (base, more))
    assert not np.isin(mine, other).any()  # but no sample of the other data set
    assert not np.isin(base.draw(batch_shape=3, rng=1), p).any()
    generator = np.random.default_rng(0)
    assert_array_equal(base.draw(2, rng=generator), p[2])
    assert not np.isin(base.draw(2, rng=generator), p).any()  # it has moved on


def test_batches_are_of_the_samples_or_fresh():
    """Without samples they are drawn of the law; moments of the two agree to what sampling leaves."""
    fresh = make("gaussian", noise=0.1).loss(4).for_batches()
    assert fresh.core == "teacher"
    assert_array_equal(fresh.teacher, make("gaussian").draw(4))
    assert make("gaussian", n_samples=5).loss(4).for_batches().n_choices == 5
    method = lf.GradientDescent(0.05, batches=lf.Batches(64))
    run = lf.train(lf.Dense((3, 2)), fresh, [np.zeros((2, 3))], method=method, n_steps=400)
    assert run.loss[-1] < 0.012  # of which 0.01 is noise


# -- as a value --------------------------------------------------------------------------------------


@EVERY
def test_plain_data_and_pickle_bring_it_back(kind):
    for options in ({}, {"n_samples": 5, "input_cov": COV, "noise": 0.5, "scale": 2.0}):
        teacher = make(kind, **options)
        arrays = {}
        data = plain.encode(teacher, arrays)
        again = plain.decode("loss", data, arrays)
        for other in (again, pickle.loads(pickle.dumps(teacher))):
            assert repr(other) == repr(teacher)
            assert plain.encode(other, {}) == data
            assert_array_equal(other.loss(3).cross_cov, teacher.loss(3).cross_cov)
    assert plain.encode(make("gaussian")) == {"kind": "gaussian", "n_inputs": 3, "n_outputs": 2}


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"kind": "gaussain"}, "kind must be one of gaussian, .*did you mean 'gaussian'"),
        ({"n_inputs": None}, "n_inputs must be given"),
        ({"n_inputs": 0}, "n_inputs must be >= 1, got 0"),
        ({"rank": 2}, "rank must be left out of a teacher that is gaussian, it is for low_rank"),
        ({"kind": "low_rank"}, "rank must be given for a teacher that is low_rank"),
        ({"kind": "low_rank", "rank": 3}, "rank must be .*2, got 3"),
        ({"kind": "sparse", "n_nonzero": 7}, "n_nonzero must be .*6, got 7"),
        ({"kind": "diagonal", "strengths": [1.0]}, r"strengths must have shape \(2,\)"),
        ({"kind": "given", "matrix": [[1.0]]}, "n_inputs must be 1, as matrix has, got 3"),
        ({"kind": "given", "matrix": [1.0]}, r"matrix must have shape \(out, in\), got \(1,\)"),
        ({"noise": -1.0}, "noise must be .*got -1"),
        ({"noise": np.nan}, "noise must be .*got nan"),
        ({"scale": 1e308, "kind": "diagonal", "strengths": [9.0, 0.0]}, "scale must keep teachers"),
        ({"n_samples": 0}, "n_samples must be >= 1, got 0"),
        ({"input_cov": np.eye(2)}, r"input_cov must have shape \(3, 3\), got \(2, 2\)"),
        ({"input_cov": -np.eye(3)}, "input_cov must have a non-negative diagonal"),
        ({"input_cov": ("powerlaw", 1.0)}, "input_cov must be one of power_law, wishart"),
        ({"input_cov": ("wishart", 0)}, "input_cov must be >= 1, got 0"),
        ({"input_cov": "wishart"}, "input_cov must be a pair of a name and a number"),
        ({"target": "labels"}, "target must be one of values, signs, classes"),
        ({"target": "signs"}, "n_samples must be given for signs of several outputs, got 2"),
        ({"target": "classes"}, "n_samples must be given for classes"),
        ({"target": "signs", "n_samples": 3, "noise": 2.0}, "noise must be from 0 to 1 for labels"),
        ({"target": "signs", "n_samples": 3, "scale": 2.0}, "scale must be 1 for labels"),
        ({"noise": [0.1, 0.2], "scale": [1.0, 2.0, 3.0]}, "run axes must broadcast"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused_by_name(options, error):
    right = {"kind": "gaussian", "n_inputs": 3, "n_outputs": 2}
    with pytest.raises((TypeError, ValueError), match=error):
        lf.Teacher(**(right | options)).loss()


@pytest.mark.parametrize("seed", [-1, 2**53, 0.5, "a", [[0], [1, 2]]])
def test_wrong_seeds_are_refused(seed):
    with pytest.raises((TypeError, ValueError), match=r"^seed must be"):
        make("gaussian").loss(seed)


def test_train_says_how_to_draw_a_loss():
    network, teacher = lf.Dense((3, 2)), make("gaussian")
    train = partial(lf.train, start=[np.zeros((2, 3))], method=lf.GradientDescent(0.1), n_steps=1)
    with pytest.raises(TypeError, match=r"^loss must .*got Teacher, of which teacher.loss\(seed="):
        train(network, teacher)
    for one in (teacher, "population"):
        record = lf.Record.every(1, evaluate={"risk": one})
        with pytest.raises(TypeError, match=r"^evaluate\['risk'\] must .*\.loss\(seed="):
            train(network, teacher.loss(0), record=record)
