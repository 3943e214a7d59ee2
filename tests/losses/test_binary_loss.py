"""Losses of one output: against mpmath, finite differences and the compiled core; limits; bad arguments."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from binary_problems import LAWS, LOSSES, SAMPLE_LOSSES, make_binary, make_data, make_law
from numpy.testing import assert_allclose, assert_array_equal

import linnet_fast as lf
from linnet_fast import laws
from linnet_fast.losses.registry import checked_loss

FAR = np.array([-1e8, -1e4, -800.0, -700.0, -50.0, -1.0, -1e-9, 0.0])
MARGINS = np.concatenate([FAR, -FAR[:-1]])


def exact(kind, margin, noise=0.0):
    """Value and slope by mpmath, the mean over flips of the label."""
    with mpmath.workdps(50):
        m, p = mpmath.mpf(float(margin)), mpmath.mpf(float(noise))

        def both(m):
            e = mpmath.exp(-m)
            if kind == "exponential":
                return e, -e
            return mpmath.log1p(e), -e / (1 + e)

        (one, slope), (other, back) = both(m), both(-m)
        value, slope = (1 - p) * one + p * other, (1 - p) * slope - p * back
        return tuple(float(x) if abs(x) < mpmath.mpf("1e308") else np.sign(x) * np.inf
                     for x in (value, slope))  # fmt: skip


def single(kind, noise=0.0):
    """The loss of one sample, 1 with label 1: the margin is w."""
    cls = lf.LogisticLoss if kind == "logistic" else lf.ExponentialLoss
    return cls.from_data([[1.0]], [1], label_noise=noise)


def by_core(loss, w, dtype=np.float64):
    """Loss and gradient by the compiled core: what it records, and what one step of size 1 takes off."""
    w = np.asarray(w, dtype)[..., None, :]
    run = lf.train(
        lf.Dense((loss.n_inputs, 1)), loss, (w,), method=lf.GradientDescent(1.0), n_steps=1,
        record=lf.Record.at([0], ("loss",)),
    )  # fmt: skip
    return run.loss[..., 0], (w - run.final.weights[0])[..., 0, :]


# --- values


@pytest.mark.parametrize("noise", [0.0, 0.3, 0.5])
@pytest.mark.parametrize("kind", SAMPLE_LOSSES)
def test_values_and_slopes_are_exact_from_one_end_to_the_other(kind, noise):
    loss = single(kind, noise)
    values = loss.value(MARGINS[:, None, None])
    slopes = loss.gradient(MARGINS[:, None, None])[:, 0, 0]
    for m, value, slope in zip(MARGINS, values, slopes, strict=True):
        own_value, own_slope = exact(kind, m, noise)
        assert_allclose(value, own_value, rtol=2e-15, atol=1e-307)
        # With noise, the slope is a difference that vanishes somewhere.
        assert_allclose(slope, own_slope, rtol=1e-15 if noise == 0 else 1e-14, atol=3e-16 * noise)


@pytest.mark.parametrize("kind", SAMPLE_LOSSES)
def test_labels_that_are_all_wrong_are_the_other_ones(kind):
    """The loss of a label noise of 1, also where a term is infinite."""
    flipped, other = single(kind, 1.0), single(kind)
    w = MARGINS[:, None, None]
    assert_allclose(flipped.value(w), other.value(-w), rtol=1e-15)
    assert_allclose(flipped.gradient(w), -other.gradient(-w), rtol=1e-15)
    # The core adds the margin itself: what is far below it is rounded away.
    for m, value in zip(MARGINS, by_core(flipped, MARGINS[:, None])[0], strict=True):
        assert_allclose(value, other.value([[-m]]), rtol=1e-14, atol=3e-16 * abs(m))


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("kind", SAMPLE_LOSSES)
def test_the_core_has_the_right_limits(kind, noise):
    """No NaN at any margin; 0, the margin itself, or infinity at the ends."""
    loss = single(kind, noise)
    values, steps = by_core(loss, MARGINS[:, None])
    for m, value, step in zip(MARGINS, values, steps[:, 0], strict=True):
        own_value, own_slope = exact(kind, m, noise)
        assert_allclose(value, own_value, rtol=4e-15, atol=1e-307)
        if np.isfinite(own_slope):
            # The step is a difference of weights: rounded at their size.
            assert_allclose(step, own_slope, rtol=4e-15, atol=2e-16 * (1 + abs(m)))
        else:
            assert np.isinf(step) or abs(step) > 1e300


@pytest.mark.parametrize("kind", SAMPLE_LOSSES)
def test_small_margins_are_exact_in_the_core(kind):
    """Relative to itself, loss by loss, over what single numbers can hold."""
    m = np.linspace(-700, 700, 2001)
    values, _ = by_core(single(kind), m[:, None])
    assert_allclose(values, [exact(kind, x)[0] for x in m], rtol=2e-15)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("noise", [0.0, 0.2])
@pytest.mark.parametrize("kind", LOSSES)
def test_core_and_python_agree_on_value_and_gradient(kind, noise, dtype):
    loss = make_binary(kind, 5, n=33, label_noise=noise)
    w = np.random.default_rng(0).standard_normal((7, 5)).astype(dtype)
    values, gradients = by_core(loss, w, dtype)
    product = w.astype(np.float64)[:, None]
    assert_allclose(values, loss.value(product), rtol=1e-14)
    # The step is a difference of weights of size 1.
    atol = 5e-15 if dtype == np.float64 else 2e-6
    assert_allclose(gradients, loss.gradient(product)[:, 0], atol=atol)


@pytest.mark.parametrize("noise", [0.0, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("kind", LOSSES)
def test_gradient_is_that_of_the_value(kind, noise):
    loss = make_binary(kind, 3, n=9, label_noise=noise)
    h = 1e-5
    for w in np.random.default_rng(1).standard_normal((4, 3)) * [[0.1], [1.0], [3.0], [8.0]]:
        ahead, behind = (loss.value((w + sign * h * np.eye(3))[:, None]) for sign in (1, -1))
        gradient = loss.gradient(w[None])[0]
        scale = max(1.0, np.abs(gradient).max())
        assert_allclose((ahead - behind) / (2 * h), gradient, rtol=1e-7, atol=1e-9 * scale)


@pytest.mark.parametrize("kind", SAMPLE_LOSSES)
def test_values_are_means_over_samples_and_flips(kind):
    x, y = make_data(12, 4)
    noise = 0.15
    cls = lf.LogisticLoss if kind == "logistic" else lf.ExponentialLoss
    loss = cls.from_data(x, y, label_noise=noise)
    w = np.array([[0.3, -1.0, 2.0, 0.1]])
    value, gradient = 0.0, np.zeros(4)
    for own_x, own_y in zip(x, y, strict=True):
        for p, label in ((1 - noise, own_y), (noise, -own_y)):
            one, slope = exact(kind, label * (own_x @ w[0]))
            value += p * one / 12
            gradient += p * slope * label * own_x / 12
    assert_allclose(loss.value(w), value, rtol=1e-14)
    assert_allclose(loss.gradient(w)[0], gradient, rtol=1e-13)
    assert_allclose(loss.margins(w), y * (x @ w[0]), rtol=1e-14)


@pytest.mark.parametrize("name", LAWS)
def test_the_spherical_loss_is_the_mean_over_its_law(name):
    """Samples say so to their own accuracy; along and across v it is a formula of h and q."""
    law = make_law(name, 4)
    v = np.array([1.0, -2.0, 0.5, 3.0])
    w = np.array([[0.4, 0.7, -1.0, 0.2]])
    for noise in (0.0, 0.3):
        loss = lf.SphericalLogisticLoss(v, law, noise)
        assert_allclose(loss.direction, v / np.linalg.norm(v), rtol=1e-15)
        x = law.sample(200_000, 3)
        sampled = lf.LogisticLoss(x, np.where(x @ v < 0, -1.0, 1.0), noise)
        terms = np.logaddexp(0, -sampled.margins(w))
        error = 6 * terms.std() / np.sqrt(len(x))
        assert_allclose(loss.value(w), sampled.value(w), atol=error)
        assert_allclose(loss.gradient(w), sampled.gradient(w), atol=error)
    plain, unit = lf.SphericalLogisticLoss(v, law), v / np.linalg.norm(v)
    assert_allclose(plain.value(0 * w), np.log(2), rtol=1e-15)
    assert_allclose(plain.gradient(0 * w)[0], -law.kappa * unit, rtol=1e-14)
    for r in (1e-3, 1.0, 50.0):
        assert_allclose(plain.value(r * unit[None]), law.radial_loss(r), rtol=1e-13)
        assert_allclose(plain.gradient(r * unit[None])[0], -law.h(r) * unit, rtol=1e-9, atol=1e-15)
        assert_allclose(
            plain.gradient(-r * unit[None])[0], -(law.kappa + law.q(r)) * unit, rtol=1e-13
        )


@pytest.mark.parametrize("name", LAWS)
def test_the_spherical_loss_at_the_ends(name):
    """From |w| of 0 to 1e8 there is no NaN; far out the loss grows with slope kappa or falls as a2 / r."""
    law = make_law(name, 3)
    loss = lf.SphericalLogisticLoss([0.0, 0.0, 1.0], law)
    r = np.array([0.0, 1e-300, 1e-8, 1.0, 1e4, 1e8])
    ahead, behind, across = (np.outer(r, u) for u in np.array([[0, 0, 1], [0, 0, -1], [1, 0, 0.0]]))
    for w in (ahead, behind, across):
        values, steps = by_core(loss, w)
        assert_allclose(values, loss.value(w[:, None]), rtol=1e-14)
        for size, step, gradient in zip(r, steps, loss.gradient(w[:, None])[:, 0], strict=True):
            assert_allclose(step, gradient, rtol=1e-14, atol=3e-16 * (1 + size))
    assert_allclose(loss.value(ahead[-1:])[()], law.a2 / 1e8, rtol=1e-6)
    assert_allclose(loss.value(behind[-1:])[()], 2 * law.kappa * 1e8, rtol=1e-6)
    assert_allclose(loss.gradient(behind[-1:])[0], [0, 0, -2 * law.kappa], rtol=1e-6)
    assert_allclose(loss.gradient(across[-1:])[0], law.kappa * np.array([1, 0, -1.0]), rtol=1e-6)


def test_margins_of_zero_weights():
    x, y = make_data(5, 3)
    for kind, value in (("logistic", np.log(2)), ("exponential", 1.0)):
        loss = make_binary(kind, 3, n=5)
        assert_allclose(loss.value(np.zeros((1, 3))), value, rtol=1e-15)
    assert_allclose(
        lf.LogisticLoss(x, y).gradient(np.zeros((1, 3)))[0], -(y @ x) / 10, rtol=1e-14, atol=1e-17
    )


# --- run axes


@pytest.mark.parametrize("kind", SAMPLE_LOSSES)
def test_run_axes_of_samples_broadcast(kind):
    """Shared samples, samples per run, labels per run, noise per run: each run is that run alone."""
    cls = lf.LogisticLoss if kind == "logistic" else lf.ExponentialLoss
    x, _ = make_data(6, 3, (2, 1))
    _, y = make_data(6, 3, (3,), seed=1)
    noise = np.array([[0.0], [0.2]])
    w = np.random.default_rng(0).standard_normal((2, 3, 1, 3))
    for inputs, labels, p in [
        (x, y, noise),
        (x, y[0], 0.0),
        (x[0, 0], y, 0.1),
        (x[0, 0], y[0], noise),
        (np.broadcast_to(x, (2, 3, 6, 3)), np.broadcast_to(y, (2, 3, 6)), noise),
    ]:
        loss = cls.from_data(inputs, labels, label_noise=p)
        values, gradients = loss.value(w), loss.gradient(w)
        run = lf.train(
            lf.Dense((3, 1)), loss, (w,), method=lf.GradientDescent(1.0), n_steps=1,
            record=lf.Record.at([0], ("loss", "margin")),
        )  # fmt: skip
        assert run.run_shape == (2, 3)
        for i in np.ndindex(2, 3):
            own = cls(
                np.broadcast_to(inputs, (2, 3, 6, 3))[i],
                np.broadcast_to(labels, (2, 3, 6))[i],
                np.broadcast_to(p, (2, 3))[i],
            )
            assert_allclose(values[i], own.value(w[i]), rtol=1e-15)
            assert_allclose(gradients[i], own.gradient(w[i]), rtol=1e-13, atol=1e-15)
            assert_allclose(run.loss[i][0], own.value(w[i]), rtol=1e-14)
            margin = own.margins(w[i]).min() / np.linalg.norm(w[i])
            assert_allclose(run.margin[i][0], margin, rtol=1e-13)


def test_run_axes_of_directions_broadcast():
    law = laws.Sphere(3)
    v = np.random.default_rng(2).standard_normal((2, 1, 3))
    loss = lf.SphericalLogisticLoss(v, law, [0.0, 0.1, 0.4])
    assert loss.run_shape == (2, 3)
    w = np.random.default_rng(0).standard_normal((2, 3, 1, 3))
    run = lf.train(
        lf.Dense((3, 1)), loss, (w,), method=lf.GradientDescent(1.0), n_steps=1,
        record=lf.Record.at([0], ("loss", "angle")),
    )  # fmt: skip
    for i in np.ndindex(2, 3):
        own = lf.SphericalLogisticLoss(v[i[0], 0], law, [0.0, 0.1, 0.4][i[1]])
        assert_allclose(loss.value(w)[i], own.value(w[i]), rtol=1e-14)
        assert_allclose(loss.gradient(w)[i], own.gradient(w[i]), rtol=1e-13)
        assert_allclose(run.loss[i][0], own.value(w[i]), rtol=1e-14)
        step = (w - run.final.weights[0])[i]
        assert_allclose(step, own.gradient(w[i]), atol=1e-14)
        cosine = own.direction @ w[i][0] / np.linalg.norm(w[i])
        assert_allclose(run.angle[i][0], np.arccos(cosine), rtol=1e-12)


def test_samples_are_not_copied_per_run():
    x = np.ones((4, 3))
    loss = lf.LogisticLoss(np.broadcast_to(x, (10**6, 4, 3)), np.broadcast_to(1.0, (10**6, 4)))
    assert loss.run_shape == (10**6,)
    assert [columns.strides[0] for columns in loss._columns] == [0, 0]
    assert loss.inputs.strides[0] == 0


# --- what they are


def test_repr_shows_sizes_only():
    x, y = make_data(6, 3)
    assert repr(lf.LogisticLoss(x, y)) == "LogisticLoss(n_samples=6, n_inputs=3, run_shape=())"
    noisy = lf.ExponentialLoss(x, y, 0.25)
    assert repr(noisy) == "ExponentialLoss(n_samples=6, n_inputs=3, label_noise=0.25, run_shape=())"
    many = lf.LogisticLoss(x, y, [0.0, 0.1])
    assert repr(many) == "LogisticLoss(n_samples=6, n_inputs=3, run_shape=(2,))"
    by_law = lf.SphericalLogisticLoss([[1.0, 0.0]] * 3, laws.Sphere(2), 0.5)
    expected = "SphericalLogisticLoss(Sphere(dim=2, radius=1.0), label_noise=0.5, run_shape=(3,))"
    assert repr(by_law) == expected


def test_sizes():
    x, y = make_data(6, 3, (2,))
    loss = lf.LogisticLoss(x, y)
    assert (loss.n_inputs, loss.n_outputs, loss.n_samples, loss.run_shape) == (3, 1, 6, (2,))
    by_law = lf.SphericalLogisticLoss(np.ones(5), laws.Ball(5))
    assert (by_law.n_inputs, by_law.n_outputs, by_law.run_shape) == (5, 1, ())


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1.0, 1e300])
def test_directions_of_any_length_are_unit_vectors(scale):
    loss = lf.SphericalLogisticLoss(np.array([3.0, 0.0, -4.0]) * scale, laws.Sphere(3))
    assert_allclose(loss.direction, [0.6, 0.0, -0.8], rtol=1e-15)
    with pytest.raises(ValueError, match="read-only"):
        loss.direction[0] = 1.0


# --- bad arguments

X, Y = make_data(4, 3)


@pytest.mark.parametrize("cls", [lf.LogisticLoss, lf.ExponentialLoss])
@pytest.mark.parametrize(
    ("x", "y", "noise", "exception", "message"),
    [
        (X, [1, -1, 0, 1], 0.0, ValueError, r"y must be made of labels 1 and -1, got 0.0 at index \(2,\)"),
        (X, [1, -1, 2, 1], 0.0, ValueError, "y must be made of labels 1 and -1, got 2"),
        (X, [1, -1, np.nan, 1], 0.0, ValueError, "y must be finite, got nan"),
        (X, Y[:3], 0.0, ValueError, r"y must have shape \(\*run, 4\), one label per row of X, got \(3,\)"),
        (X, 1.0, 0.0, ValueError, r"y must have shape \(\*run, 4\)"),
        (X[0], Y, 0.0, ValueError, r"X must have shape \(\*run, n, in\), got \(3,\)"),
        (X[:0], Y[:0], 0.0, ValueError, "X must not be empty"),
        (np.where(X[1, 1] == X, np.nan, X), Y, 0.0, ValueError, r"X must be finite, got nan at index \(1, 1\)"),
        (np.where(X[1, 1] == X, -np.inf, X), Y, 0.0, ValueError, "X must be finite, got -inf"),
        (X * 1j, Y, 0.0, TypeError, "X must be .*complex128"),
        (None, Y, 0.0, TypeError, "X must be .*NoneType"),
        ("ab", Y, 0.0, TypeError, "X must be"),
        (X, Y, -0.1, ValueError, "label_noise must be >= 0, got -0.1"),
        (X, Y, 1.5, ValueError, "label_noise must be <= 1, got 1.5"),
        (X, Y, [0.1, 2.0], ValueError, r"label_noise must be <= 1, got 2.0 at index \(1,\)"),
        (X, Y, np.nan, ValueError, "label_noise must be finite"),
        (X, Y, "0", TypeError, "label_noise must be"),
        (np.stack([X] * 2), np.stack([Y] * 3), 0.0, ValueError, r"run axes must broadcast .* inputs \(2,\), labels \(3,\)"),
        (np.stack([X] * 2), Y, [0.1] * 3, ValueError, r"inputs \(2,\).* label_noise \(3,\)"),
    ],
)  # fmt: skip
def test_samples_are_refused(cls, x, y, noise, exception, message):
    with pytest.raises(exception, match=message):
        cls.from_data(x, y, label_noise=noise)
    own = message.replace("X", "inputs")  # what the argument is called there
    own = f"labels{own[1:]}" if own[0] == "y" else own
    with pytest.raises(exception, match=own):
        cls(x, y, noise)


@pytest.mark.parametrize(
    ("v", "law", "noise", "exception", "message"),
    [
        ([0.0, 0.0], laws.Sphere(2), 0.0, ValueError, "largest entry of direction must be > 0, got 0"),
        ([[1.0, 0.0], [0.0, 0.0]], laws.Sphere(2), 0.0, ValueError, r"> 0, got 0.0 at index \(1,\)"),
        ([1.0, 0.0, 0.0], laws.Sphere(2), 0.0, ValueError, r"direction must have shape \(\*run, 2\), .*, got \(3,\)"),
        (1.0, laws.Sphere(2), 0.0, ValueError, r"direction must have shape \(\*run, 2\)"),
        ([np.nan, 0.0], laws.Sphere(2), 0.0, ValueError, "direction must be finite"),
        (["a", "b"], laws.Sphere(2), 0.0, TypeError, "direction must be"),
        ([1.0, 0.0], "sphere", 0.0, TypeError, "law must be one of linnet_fast.laws, got str"),
        ([1.0, 0.0], laws.Sphere, 0.0, TypeError, "law must be one of linnet_fast.laws, got"),
        ([1.0, 0.0], laws.Sphere(2), -1e-9, ValueError, "label_noise must be >= 0"),
        ([1.0, 0.0], laws.Sphere(2), 1.0001, ValueError, "label_noise must be <= 1"),
        ([[1.0, 0.0]] * 2, laws.Sphere(2), [0.1] * 3, ValueError, r"direction \(2,\), label_noise \(3,\)"),
    ],
)  # fmt: skip
def test_directions_and_laws_are_refused(v, law, noise, exception, message):
    with pytest.raises(exception, match=message):
        lf.SphericalLogisticLoss(v, law, noise)


@pytest.mark.parametrize("law", [laws.Gaussian, laws.Sphere, laws.Ball])
def test_a_law_in_one_dimension_is_refused(law):
    with pytest.raises(ValueError, match="dim must be >= 2, got 1: there is no angle"):
        law(1)


@pytest.mark.parametrize("kind", LOSSES)
def test_products_are_refused(kind):
    loss = make_binary(kind, 3, (2,))
    for call in (loss.value, loss.gradient):
        for bad in (np.zeros(3), np.zeros((2, 3)), np.zeros((1, 4)), np.zeros((5, 2, 3))):
            with pytest.raises(ValueError, match=r"product must have shape \(\*batch, 1, 3\), got"):
                call(bad)
        with pytest.raises(TypeError, match="product must be a real number or an array of them"):
            call(np.zeros((1, 3), complex))
        with pytest.raises(ValueError, match="broadcast"):
            call(np.zeros((3, 1, 3)))


@pytest.mark.parametrize("kind", LOSSES)
def test_networks_must_have_one_output_and_the_inputs_of_the_loss(kind):
    loss = make_binary(kind, 3)
    for network in (lf.Dense((3, 2)), lf.Dense((3, 1, 2)), lf.Dense((4, 1))):
        start = lf.initialization.gaussian(network, rng=0)
        with pytest.raises(ValueError, match="loss must match the network's widths"):
            lf.train(network, loss, start, method=lf.GradientDescent(0.1), n_steps=1)


def test_other_objects_are_no_losses():
    for bad in (None, 1.0, lf.LogisticLoss, "logistic"):
        with pytest.raises(
            TypeError, match="loss must be one of SquaredLoss, SampledSquaredLoss, LogisticLoss"
        ):
            checked_loss(bad)
    loss = lf.LogisticLoss(X, Y)
    assert checked_loss(loss) is loss


def test_losses_do_not_change_with_the_arrays_they_are_made_of():
    loss = lf.LogisticLoss(X, Y)
    for array in (loss.inputs, loss.labels, loss.label_noise):
        assert not array.flags.writeable


@pytest.mark.parametrize("kind", SAMPLE_LOSSES)
def test_padding_is_seen_by_nothing(kind):
    """The core fills up samples to sixteens; a mean over them must not know."""
    w = np.array([[0.5, -1.0, 0.25]])
    for n in (1, 15, 16, 17, 31, 32, 33, 255, 256, 257):
        loss = make_binary(kind, 3, n=n)
        for columns, n_rows in zip(loss._columns, (3, 1), strict=True):
            assert columns.shape == (n_rows, -(-n // 16) * 16)
            assert_array_equal(columns[:, n:], 0.0)
        value, gradient = by_core(loss, w)
        assert_allclose(value, loss.value(w[:, None]), rtol=1e-14)
        assert_allclose(gradient, loss.gradient(w[:, None])[:, 0], atol=1e-15)


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_spherical_loss_of_any_norm(noise):
    law = laws.Gaussian(2)
    loss = lf.SphericalLogisticLoss([0.0, 1.0], law, noise)
    cosine = np.array([1.0, 0.0, -1.0, np.sqrt(0.5)])
    w = np.stack([np.sqrt(1 - cosine**2), cosine], axis=-1)[:, None, :]
    for norm in (1e160, 1e-200, 1e300):
        # kappa (r - (1 - 2 noise) v . w) + H(r), with H = a2 / r far out and ln 2 near 0
        radial = law.a2 / norm if norm > 1 else np.log(2)
        expected = law.kappa * norm * (1 - (1 - 2 * noise) * cosine) + radial
        assert_allclose(loss.value(norm * w), expected, rtol=1e-14)
        toward = (1 - 2 * noise) * law.kappa * np.array([0.0, 1.0])
        slope = law.kappa * w - toward if norm > 1 else norm * w / 4 - toward
        assert_allclose(loss.gradient(norm * w), slope, rtol=1e-12, atol=1e-15)
