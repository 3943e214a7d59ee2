"""Losses on samples with several outputs: mpmath, finite differences, the core, SVMs; bad arguments."""

from __future__ import annotations

import cvxpy
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from support import assert_same, make_start

import linnet_fast as lf
from linnet_fast import reference
from linnet_fast.directional_convergence import max_margin

KINDS = ("squared", "logistic", "exponential", "softmax", "smoothed")
OBSERVED = ("loss", "product", "gradient_norm", "singular_values")


def make(kind, n, n_in, n_out, runs=(), *, seed=0):
    """Return a loss of several outputs with the given run axes."""
    rng = np.random.default_rng([seed, n, n_in, n_out])
    x = rng.standard_normal((*runs, n, n_in)) / np.sqrt(n_in) + 0.1
    if kind == "squared":
        return lf.SampledSquaredLoss(x, rng.standard_normal((*runs, n, n_out)))
    if kind in ("softmax", "smoothed"):
        smooth = 0.2 if kind == "smoothed" else 0.0
        labels = rng.integers(0, n_out, (*runs, n))
        return lf.CrossEntropyLoss.from_data(
            x, labels, classes=range(n_out), label_smoothing=smooth
        )
    cls = lf.LogisticLoss if kind == "logistic" else lf.ExponentialLoss
    return cls(x, rng.choice([-1.0, 1.0], (*runs, n, n_out)), 0.1, n_out)


def observed(loss):
    return (*OBSERVED, *(("margin", "accuracy") if "margin" in loss.supports else ()))


def close(actual, expected, rtol):
    for name, value in expected.observables.items():
        scale = np.abs(value[np.isfinite(value)]).max(initial=1e-3)
        assert_allclose(actual.observables[name], value, rtol=rtol, atol=rtol * scale, err_msg=name)


# --- values


def softmax(z, q):
    """Value and slopes of one sample, by mpmath."""
    with mpmath.workdps(700):  # a loss may be that small beside 1
        z = [mpmath.mpf(float(x)) for x in z]
        q = [mpmath.mpf(float(x)) for x in q]
        top = max(z)
        total = sum(mpmath.exp(x - top) for x in z)
        value = top + mpmath.log(total) - sum(a * b for a, b in zip(q, z, strict=True))
        slopes = [mpmath.exp(x - top) / total - p for x, p in zip(z, q, strict=True)]
        return float(value), [float(s) for s in slopes]


FAR = (0.0, 1e-9, 0.3, 30.0, 37.0, 300.0, 700.0, 1e4, 1e8)


@pytest.mark.parametrize("far", FAR)
@pytest.mark.parametrize("sign", [1, -1])
def test_softmax_is_exact_from_one_end_to_the_other(far, sign):
    z = sign * far * np.array([1.0, -0.25, 0.5, -1.0]) + np.array([0.0, 0.1, 0.2, 0.3])
    for q in np.eye(4):
        loss = lf.CrossEntropyLoss([[1.0]], [q])
        value, slopes = softmax(z, q)
        run = lf.train(
            lf.Dense((1, 4)), loss, (z[:, None],), method=lf.GradientDescent(1.0), n_steps=1,
            record=lf.Record.at([0], ("loss",)),
        )  # fmt: skip
        for found in (loss.value(z[:, None]), run.loss[0]):
            assert_allclose(found, value, rtol=2e-15 + 4e-16 * far, atol=1e-300)
        # A difference of outputs is rounded, and its exponential with it.
        rtol = 3e-15 + 4e-16 * far
        assert_allclose(loss.gradient(z[:, None])[:, 0], slopes, rtol=rtol, atol=1e-300)
        if far <= 1:  # else the step is lost beside the weights
            assert_allclose(z - run.final.weights[0][:, 0], slopes, rtol=1e-14, atol=2e-16)


def test_the_core_takes_small_slopes_in_full():
    # From weights of 0 in all but one layer the first step shows slopes alone.
    z = np.array([40.0, -3.0, 1.0])
    loss = lf.CrossEntropyLoss([[1.0, 1.0]], [[1.0, 0.0, 0.0]])
    start = (np.stack([z, 0 * z], axis=1),)
    run = lf.train(lf.Dense((2, 3)), loss, start, method=lf.GradientDescent(1.0), n_steps=1)
    _, slopes = softmax(z, [1.0, 0.0, 0.0])
    assert_allclose(-run.final.weights[0][:, 1], slopes, rtol=3e-15)


def test_all_classes_are_alike_at_zero():
    for n_classes in (2, 3, 10, 100):
        loss = make("softmax", 7, 3, n_classes)
        assert_allclose(loss.value(np.zeros((n_classes, 3))), np.log(n_classes), rtol=1e-15)


def test_two_classes_are_the_logistic_loss_of_the_difference():
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((30, 4)), rng.choice([-1, 1], 30)
    two, one = lf.CrossEntropyLoss.from_data(x, y), lf.LogisticLoss.from_data(x, y)
    p = rng.standard_normal((20, 2, 4)) * np.geomspace(1e-3, 1e3, 20)[:, None, None]
    difference = p[:, 1:] - p[:, :1]
    assert_allclose(two.value(p), one.value(difference), rtol=1e-13)
    assert_allclose(two.gradient(p)[:, 1:], one.gradient(difference), rtol=1e-11, atol=1e-300)
    assert_allclose(two.gradient(p)[:, :1], -one.gradient(difference), rtol=1e-11, atol=1e-300)
    assert_allclose(two.margins(p), one.margins(difference), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_the_values(kind):
    loss = make(kind, 9, 4, 3)
    rng = np.random.default_rng(2)
    p, move = rng.standard_normal((2, 5, 3, 4))
    h = 1e-5
    slope = (loss.value(p + h * move) - loss.value(p - h * move)) / (2 * h)
    assert_allclose(np.sum(loss.gradient(p) * move, axis=(-2, -1)), slope, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("kind", ["logistic", "exponential"])
def test_several_outputs_are_so_many_losses(kind):
    loss = make(kind, 9, 4, 3)
    p = np.random.default_rng(3).standard_normal((6, 3, 4))
    parts = [
        type(loss)(loss.inputs, loss.labels[:, k], loss.label_noise).value(p[:, k : k + 1])
        for k in range(3)
    ]
    assert_allclose(loss.value(p), np.sum(parts, axis=0), rtol=1e-14)


# --- training


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12)
@given(data=st.data())
def test_trainings_equal_the_reference(kind, data):
    n = data.draw(st.sampled_from([1, 3, 16, 17, 300]))
    widths = tuple(data.draw(st.lists(st.sampled_from([1, 2, 3, 7, 13]), min_size=2, max_size=4)))
    n_out = max(widths[-1], 2)
    network = lf.Dense((*widths[:-1], n_out))
    loss = make(kind, n, widths[0], n_out, data.draw(st.sampled_from([(), (9,)])))
    methods = [
        lf.GradientDescent(0.05, weight_decay=0.01, momentum=0.5),
        lf.StochasticGradientDescent(0.05, batch_size=5, seed=3),
        lf.GradientDescent(lf.StepRule.loss_normalized(0.01)),
    ]
    if kind == "squared" and n <= widths[0]:
        methods.pop()  # steps over a loss that falls to 0 make much of rounding
    method = data.draw(st.sampled_from(methods))
    settings_of = {
        "method": method,
        "n_steps": 20,
        "record": lf.Record.every(5, observed(loss)),
    }
    start = make_start(network.widths, (9,), seed=1)
    close(
        lf.train(network, loss, start, **settings_of),
        reference.train(network, loss, start, **settings_of),
        1e-12,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_flows_equal_the_reference(kind):
    network = lf.Dense((4, 3, 3))
    loss = make(kind, 9, 4, 3)
    method = lf.GradientFlow(rtol=1e-10)
    times = {"until": 3.0, "record": lf.Record.at_times([0.0, 1.0, 3.0], observed(loss))}
    start = make_start(network.widths, (2,), seed=1)
    ours = lf.train(network, loss, start, method=method, **times)
    close(ours, reference.train(network, loss, start, method=method, **times), 1e-7)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("method", ["descent", "batches"])
@pytest.mark.parametrize("kind", KINDS)
def test_bits_do_not_depend_on_the_batch(kind, method, dtype):
    for n_out, hidden, own in ((2, 3, True), (10, 20, False), (3, 70, True)):
        network = lf.Dense((5, hidden, n_out))
        loss = make(kind, 21, 5, n_out, (19,) if own else ())
        start = make_start(network.widths, (19,), seed=4, dtype=dtype)
        streams = np.arange(19)

        def train(which, n_threads=1, start=start, loss=loss, network=network, streams=streams):
            part = loss.of_run(which, (19,)) if isinstance(which, tuple) else loss
            rows = slice(*which, which[0] + 1) if isinstance(which, tuple) else which
            stepping = (
                lf.GradientDescent(0.1)
                if method == "descent"
                else lf.StochasticGradientDescent(0.1, batch_size=7, streams=streams[rows])
            )
            return lf.train(
                network, part, tuple(w[rows] for w in start), method=stepping, n_steps=25,
                record=lf.Record.every(5, observed(loss)), n_threads=n_threads,
            )  # fmt: skip

        whole = train(slice(None))
        assert_same(train(slice(None), 2), whole)
        for run in (0, 7, 18):
            assert_same(train((run,)), whole, slice(run, run + 1))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kind", KINDS)
def test_runs_that_share_few_samples_of_many_inputs_have_the_bits_of_each_alone(kind, dtype):
    """They are a lane each, where a run alone has its samples in the lanes."""
    network, n_runs = lf.Dense((40, 3, 2)), 35
    start = make_start(network.widths, (n_runs,), seed=4, dtype=dtype)
    options = {"method": lf.GradientDescent(0.1), "n_steps": 25, "reduce": False}
    for n in (1, 17, 50, 64, 65):
        loss = make(kind, n, 40, 2)
        record = lf.Record.every(5, observed(loss))
        whole = lf.train(network, loss, start, record=record, n_threads=1, **options)
        for run in (0, 34):
            own = tuple(w[run : run + 1] for w in start)
            alone = lf.train(network, loss, own, record=record, n_threads=1, **options)
            assert_same(alone, whole, slice(run, run + 1))


def test_both_forms_of_the_squared_loss_train_alike():
    rng = np.random.default_rng(5)
    for n, n_in in ((60, 6), (4, 9), (6, 6)):
        x, y = rng.standard_normal((n, n_in)), rng.standard_normal((n, 3))
        network = lf.Dense((n_in, 5, 3))
        start = make_start(network.widths, (10,), seed=6)
        runs = [
            lf.train(
                network, lf.SquaredLoss.from_data(x, y, form=form), start,
                method=lf.GradientDescent(0.02), n_steps=1000,
                record=lf.Record.geomspace(20, OBSERVED),
            )
            for form in ("moments", "samples")
        ]  # fmt: skip
        close(runs[0], runs[1], 1e-12)


@pytest.mark.parametrize("form", ["moments", "samples", "given"])
def test_losses_fall_to_rounding_squared_on_realisable_data(form):
    rng = np.random.default_rng(7)
    x, teacher = rng.standard_normal((50, 8)), rng.standard_normal((8, 8))
    loss = lf.SquaredLoss.from_data(
        x, x @ teacher, form="samples" if form == "samples" else "moments"
    )
    if form == "given":
        loss = lf.SquaredLoss(loss.input_cov, loss.cross_cov, loss.output_power)
    network = lf.Dense((8, 8, 8))
    run = lf.train(
        network, loss, make_start(network.widths, (10,), seed=8, scale=0.5), method=lf.GradientDescent(0.02),
        n_steps=20_000, record=lf.Record.geomspace(50, ("loss", "product")),
        stop=lf.Stop(loss=1e-27, check_every=50),
    )  # fmt: skip
    assert (run.final.status == lf.Status.CONVERGED).all()
    known = ~np.isnan(run.loss)
    assert (run.loss[known] >= 0).all()
    assert np.nanmin(run.loss) < 1e-26
    # As the residuals themselves say, which cannot be negative.
    apart = x @ (run.product.mT - teacher)
    direct = np.sum(apart**2, axis=(-2, -1)) / 100
    # The end-to-end matrix itself is known to 1e-16.
    room = 1e-14 * np.sqrt(direct[known]) + 1e-28
    assert (np.abs(run.loss[known] - direct[known]) <= room).all()
    assert_allclose(loss.minimizer, teacher.T, rtol=1e-13, atol=1e-13)
    assert 0 <= loss.least_loss < 1e-28


def test_log_time_flows_reach_the_hard_margin_of_several_classes():
    rng = np.random.default_rng(9)
    centres = np.array([[3.0, 0.0], [-1.0, 3.0], [-1.0, -3.0]])
    labels = np.repeat(np.arange(3), 6)
    x = centres[labels] + 0.5 * rng.standard_normal((18, 2))
    p = cvxpy.Variable((3, 2))
    scores = x @ p.T
    margins = [
        scores[i, labels[i]] - scores[i, c] >= 1
        for i in range(18)
        for c in range(3)
        if c != labels[i]
    ]
    cvxpy.Problem(cvxpy.Minimize(cvxpy.sum_squares(p)), margins).solve()
    svm = p.value / np.linalg.norm(p.value)
    best = max_margin(x, labels, n_classes=3)
    assert_allclose(best.direction, svm, atol=1e-6)  # as good as cvxpy's solver is
    assert_allclose(best.margin, 1 / np.linalg.norm(p.value), rtol=1e-6)
    loss = lf.CrossEntropyLoss.from_data(x, labels)
    assert_allclose(loss.margins(best.direction).min(), best.margin, rtol=1e-11)
    hull = sum(
        best.coefficients[i, c] * np.outer(np.eye(3)[labels[i]] - np.eye(3)[c], x[i])
        for i in range(18)
        for c in range(3)
    )
    assert_allclose(hull, best.margin * best.direction, atol=1e-10)
    run = lf.train(
        lf.Dense((2, 3)), loss, (np.zeros((3, 2)),), method=lf.GradientFlow(log_time=True),
        until=3000.0, record=lf.Record.at_times([300.0, 3000.0], ("product", "margin", "accuracy")),
    )  # fmt: skip
    found = run.product / np.linalg.norm(run.product, axis=(-2, -1), keepdims=True)
    apart = np.linalg.norm(found - svm, axis=(-2, -1))
    assert apart[-1] < 2e-3
    assert_allclose(apart[1] / apart[0], 0.1, rtol=0.02)  # like 1 / log t
    assert_allclose(run.margin[-1], 1 / np.linalg.norm(p.value), rtol=2e-3)
    assert_array_equal(run.accuracy, 1.0)


# --- ends of ranges


@pytest.mark.parametrize("kind", KINDS)
def test_one_sample_and_duplicated_ones(kind):
    loss = make(kind, 1, 4, 3)
    table = {name: getattr(loss, name) for name in ("inputs", "labels", "targets", "outputs")
             if hasattr(loss, name)}  # fmt: skip
    twice = {name: np.repeat(value, 2, axis=0) for name, value in table.items()}
    both = type(loss)(**(loss.arguments() | twice))
    p = np.random.default_rng(10).standard_normal((3, 4))
    assert_allclose(both.value(p), loss.value(p), rtol=1e-14)
    assert_allclose(both.gradient(p), loss.gradient(p), rtol=1e-13)


def test_only_one_class_is_in_the_data():
    loss = lf.CrossEntropyLoss.from_data([[1.0], [2.0]], ["b", "b"], classes=["a", "b"])
    run = lf.train(lf.Dense((1, 2)), loss, (np.zeros((2, 1)),), method=lf.GradientDescent(1.0),
                   n_steps=100, record=lf.Record.at([0, 100], ("loss", "accuracy")))  # fmt: skip
    assert run.accuracy.tolist() == [0.0, 1.0]  # a tie is not right
    assert run.loss[1] < run.loss[0]


def test_minimizers_of_samples():
    rng = np.random.default_rng(11)
    for n, n_in in ((20, 4), (3, 9)):
        x, y = rng.standard_normal((n, n_in)), rng.standard_normal((n, 2))
        x[-1] = x[0]  # a duplicated row with another target
        for form in ("samples", "moments"):
            loss = lf.SquaredLoss.from_data(x, y, form=form)
            best = np.linalg.lstsq(x, y, rcond=None)[0].T
            assert_allclose(loss.minimizer, best, rtol=1e-9, atol=1e-11)
            assert_allclose(loss.least_loss, np.sum((y - x @ best.T) ** 2) / (2 * n), rtol=1e-12)
            assert_allclose(loss.value(best), loss.least_loss, rtol=1e-12)
            assert loss.least_loss >= 0


def test_the_form_follows_the_sizes_and_the_method():
    rng = np.random.default_rng(12)
    few, many = rng.standard_normal((4, 9)), rng.standard_normal((40, 9))
    assert type(lf.SquaredLoss.from_data(few, few)) is lf.SampledSquaredLoss
    loss = lf.SquaredLoss.from_data(many, many)
    assert type(loss) is lf.SquaredLoss
    start = make_start((9, 9), (), seed=1)
    drawn = lf.StochasticGradientDescent(0.01, batch_size=3)
    run = lf.train(lf.Dense((9, 9)), loss, start, method=drawn, n_steps=3)
    assert type(run.loss_function) is lf.SampledSquaredLoss
    moments = lf.SquaredLoss.from_data(many, many, form="moments")
    with pytest.raises(ValueError, match="loss must have samples or a law to draw from"):
        lf.train(lf.Dense((9, 9)), moments, start, method=drawn, n_steps=3)


# --- bad arguments


X = np.ones((3, 2))


@pytest.mark.parametrize(
    ("make_it", "exception", "message"),
    [
        (lambda: lf.CrossEntropyLoss.from_data(X, [0, 1]), ValueError, r"labels must have shape \(\*run, 3\)"),
        (lambda: lf.CrossEntropyLoss.from_data(X, [0, 0, 0]), ValueError, "labels must be of at least 2 classes"),
        (lambda: lf.CrossEntropyLoss.from_data(X, [0, 1, 5], classes=[0, 1]), ValueError, "labels must be out of"),
        (lambda: lf.CrossEntropyLoss.from_data(X, [0, 1, 0], classes=[1, 1]), ValueError, "classes must be at least"),
        (lambda: lf.CrossEntropyLoss.from_data(X, [0j, 1, 0]), TypeError, "labels must be integers, text"),
        (lambda: lf.CrossEntropyLoss.from_data(X, [0, 1, 0], label_smoothing=1.0), ValueError, "label_smoothing"),
        (lambda: lf.CrossEntropyLoss.from_data(X, np.ones((3, 2))), ValueError, "labels must be of sum 1"),
        (lambda: lf.CrossEntropyLoss(X, -np.ones((3, 2))), ValueError, "targets must be >= 0"),
        (lambda: lf.CrossEntropyLoss(X, np.ones((3, 1))), ValueError, "targets must have shape"),
        (lambda: lf.LogisticLoss(X, np.ones((3, 2))), ValueError, r"labels must have shape \(\*run, 3\)"),
        (lambda: lf.LogisticLoss(X, np.ones(3), 0.0, 2), ValueError, r"labels must have shape \(\*run, 3, 2\)"),
        (lambda: lf.LogisticLoss.from_data(X, [[1, 0]] * 3), ValueError, "y must be made of labels 1 and -1"),
        (lambda: lf.SampledSquaredLoss(X, np.ones((2, 1))), ValueError, "equally many rows"),
        (lambda: lf.SquaredLoss.from_data(X, X, form="moment"), ValueError, "form must be"),
        (lambda: lf.SquaredLoss(np.eye(2), np.eye(2), 2.0, 1.0), ValueError, "residual_power must be that of"),
        (lambda: lf.SquaredLoss(np.diag([1.0, 0.0]), [[1.0, 0.5]], 2.0), ValueError, "cross_cov must be 0 where"),
    ],
)  # fmt: skip
def test_bad_arguments(make_it, exception, message):
    with pytest.raises(exception, match=message):
        make_it()


def test_two_classes_have_the_direction_of_labels():
    rng = np.random.default_rng(13)
    y = rng.choice([-1, 1], 20)
    x = rng.standard_normal((2, 20, 3)) + 4 * y[:, None]
    one, two = max_margin(x, y), max_margin(x, (y + 1) // 2, n_classes=2)
    assert_allclose(two.direction[:, 1] * np.sqrt(2), one.direction, rtol=1e-10)
    assert_allclose(two.margin, np.sqrt(2) * one.margin, rtol=1e-11)
    assert_array_equal(two.support, one.support)


@pytest.mark.parametrize(
    ("y", "n_classes", "exception", "message"),
    [
        ([0, 1, 3], 3, ValueError, r"y must be <= 2, got 3 at index \(2,\)"),
        ([0, 1, 0.5], 3, TypeError, "y must be integers, got dtype float64"),
        ([0, 1], 3, ValueError, "y must have shape"),
        ([0, 0, 1], 1, ValueError, "n_classes must be"),
        ([0, 1, 0], 2, ValueError, "X and y must be separable"),
    ],
)
def test_classes_are_refused(y, n_classes, exception, message):
    with pytest.raises(exception, match=message):
        max_margin(np.ones((3, 2)), y, n_classes=n_classes)


@pytest.mark.parametrize("n_features", [3, 8, 11, 30])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("batches", [lf.Batches(13, 5), lf.Batches(13, 5, replace=False)])
def test_batches_of_data_that_runs_share_are_those_of_data_of_their_own(n_features, dtype, batches):
    # The core copies samples of shared data in another way than those of a run's own.
    rng = np.random.default_rng(n_features)
    x, y = rng.standard_normal((50, n_features)), rng.standard_normal((50, 2))
    network = lf.Dense((n_features, 4, 2))
    start = lf.initialization.gaussian(network, rng=0, batch_shape=9, dtype=dtype)
    shared = lf.SampledSquaredLoss(x, y)
    own = lf.SampledSquaredLoss(np.stack([x] * 9), np.stack([y] * 9))
    method = lf.GradientDescent(0.01, batches=batches.with_streams(np.arange(9)))
    runs = [
        lf.train(network, loss, start, method=method, n_steps=30, record=lf.Record.every(10))
        for loss in (shared, own)
    ]
    for one, other in zip(*(run.final.weights for run in runs), strict=True):
        assert_array_equal(one, other)
    assert_array_equal(runs[0].loss, runs[1].loss)


@pytest.mark.parametrize("n", [1, 8, 9, 40, 47, 56, 65, 104, 300])
def test_any_number_of_samples_has_the_gradient_of_the_reference(n):
    rng = np.random.default_rng(n)
    x, y = rng.standard_normal((n, 6)), rng.standard_normal((n, 1))
    network, loss = lf.Dense((6, 1)), lf.SampledSquaredLoss(x, y)
    start = lf.initialization.gaussian(network, rng=0, batch_shape=11)
    run = lf.train(network, loss, start, method=lf.GradientDescent(0.125), n_steps=1)
    expected = start[0] - 0.125 * loss.gradient(start[0])
    assert_allclose(run.final.weights[0], expected, rtol=1e-12, atol=1e-13)
