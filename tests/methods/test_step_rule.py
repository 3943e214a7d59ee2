"""Step rules: their formulas from what is recorded, the core against the reference, and bad arguments."""

from __future__ import annotations

import re

import numpy as np
import pytest
from binary_problems import LAWS, LOSSES, RULES, direction, make_binary, make_law, observed
from numpy.testing import assert_allclose, assert_array_equal
from support import EVERYTHING, ROOT, crossed, make_loss, make_start, parts

import linnet_fast as lf
from linnet_fast import laws, reference
from linnet_fast.methods.descent import GradientDescent
from linnet_fast.methods.step_rule import KINDS, StepRule
from linnet_fast.methods.stochastic import StochasticGradientDescent

RECORDED = ("loss", "norm", "product")


def train(loss, rule, *, runs=(), n_steps=12, names=RECORDED, multipliers=None, **options):
    widths = (loss.n_inputs, 3, loss.n_outputs)
    return lf.train(
        lf.Dense(widths), loss, make_start(widths, runs, scale=0.5),
        method=GradientDescent(rule, layer_multipliers=multipliers),
        n_steps=n_steps, record=lf.Record.every(1, names), **options,
    )  # fmt: skip


# --- formulas


@pytest.mark.parametrize("kind", [*LOSSES, "squared"])
@pytest.mark.parametrize("rule", list(RULES))
def test_times_are_the_sums_of_what_the_rule_says(rule, kind):
    """From the records before each step, without the reference."""
    loss = make_loss((4, 3, 2)) if kind == "squared" else make_binary(kind, 4)
    scale = np.array([0.01, 0.02, 0.005])
    run = train(loss, RULES[rule](scale), runs=(3,))
    n = np.arange(12)
    gradient = loss.gradient(run.product) if kind != "squared" else (
        run.product @ loss.input_cov - loss.cross_cov
    )  # fmt: skip
    factor = {
        "power": np.broadcast_to((n + 1.0) ** 0.5, (3, 12)),
        "geometric": np.broadcast_to(1.05**n, (3, 12)),
        "loss_normalized": 1 / run.loss[:, :-1],
        "norm_proportional": run.norm[:, :-1],
        "gradient_normalized": 1 / np.linalg.norm(gradient, axis=(-2, -1))[:, :-1],
    }[rule]
    expected = np.cumsum(scale[:, None] * factor, axis=-1)
    assert_allclose(run.time[:, 0], 0.0)
    assert_allclose(run.time[:, 1:], expected, rtol=1e-12)
    assert_array_equal(run.final.elapsed, run.time[:, -1])
    assert run.time.shape == (3, 13)


@pytest.mark.parametrize("kind", ["logistic", "gaussian", "squared"])
@pytest.mark.parametrize("rule", list(RULES))
def test_each_step_is_one_of_that_size(rule, kind):
    loss = make_loss((4, 3, 2)) if kind == "squared" else make_binary(kind, 4)
    run = train(loss, RULES[rule](0.02), names=("weights",), n_steps=6, multipliers=[1.0, 0.5])
    for n, size in enumerate(np.diff(run.time)):
        weights = [w[n] for w in run.weights]
        moves = reference.gradients(weights, loss)
        for w, move, multiplier, after in zip(weights, moves, (1.0, 0.5), run.weights, strict=True):
            assert_allclose(after[n + 1], w - size * multiplier * move, rtol=1e-12, atol=1e-14)


@crossed(
    ("widths", [(3, 2), (5, 4, 3), (2, 3, 3, 2), (40, 40, 40), (1, 1, 1)]),
    ("rule", list(RULES)),
    n=10,
)
def test_rules_of_the_squared_loss_equal_the_reference(rule, widths):
    """Several outputs; moments of their own, shared, and diagonal ones, for which the core has other kernels."""
    for runs, diagonal in [((11,), False), ((), True), ((), False)]:
        loss = make_loss(widths, runs, diagonal=diagonal)
        start = make_start(widths, (11,), scale=0.5)
        slope = np.max(reference.observe("gradient_norm", start, loss))
        scale = 0.01 if rule.endswith("normalized") else 0.02 / max(1.0, slope)
        arguments = {
            "method": GradientDescent(RULES[rule](scale), 0.05),
            "n_steps": 8,
            "record": lf.Record.every(2, EVERYTHING),
        }
        run = lf.train(lf.Dense(widths), loss, start, **arguments)
        expected = reference.train(lf.Dense(widths), loss, start, **arguments)
        assert_array_equal(run.status, expected.status)
        arrays = parts(expected)
        for name, array in parts(run).items():
            size = np.nan_to_num(np.abs(arrays[name])).max(initial=0)
            size += max(widths) if name == "imbalance" else 0  # a difference of products
            assert_allclose(array, arrays[name], rtol=1e-11, atol=1e-12 * size, err_msg=name)


@crossed(("rule", list(RULES)), ("kind", LOSSES), n=12)
def test_rules_equal_the_reference(rule, kind):
    """1e-12 over twenty steps; other run axes on scale and exponent."""
    loss = make_binary(kind, 5, n=30)
    scale, other = np.array([0.02, 0.05, 0.01])[:, None], np.array([0.5, 1.1])
    one = {
        "power": StepRule.power(scale, other),
        "geometric": StepRule.geometric(scale, other),
    }.get(rule) or RULES[rule](scale + 0.01 * other)
    assert one.run_shape == (3, 2)
    network, start = lf.Dense((5, 3, 1)), make_start((5, 3, 1), (3, 2), scale=0.5)
    arguments = {
        "method": GradientDescent(one, layer_multipliers=[1.0, 0.5]),
        "n_steps": 20,
        "record": lf.Record.every(4, observed(network, loss), direction(5)),
    }
    run = lf.train(network, loss, start, **arguments)
    expected = reference.train(network, loss, start, **arguments)
    for name, array in parts(run).items():
        theirs = parts(expected)[name]
        tolerance = 1e-12 if name != "layer_alignment" else 1e-9
        assert_allclose(array, theirs, rtol=tolerance, atol=10 * tolerance, err_msg=name)


def test_float32_steps_follow_the_rule_in_double_precision():
    loss = make_binary("logistic", 4)
    run = train(loss, StepRule.power(0.1, -0.3), dtype=np.float32, n_steps=100)
    expected = np.cumsum(0.1 * (np.arange(100) + 1.0) ** -0.3)
    assert_allclose(run.final.elapsed, expected[-1], rtol=1e-13)
    assert run.final.elapsed.dtype == np.float64
    assert run.final.weights[0].dtype == np.float32


def test_n_counts_from_the_very_start():
    loss = make_binary("logistic", 4)
    for rule in (StepRule.power(0.01, 0.5), StepRule.geometric(0.01, 1.05)):
        half = train(loss, rule, n_steps=7)
        rest = lf.train(
            lf.Dense((4, 3, 1)), loss, half.final, method=GradientDescent(rule), n_steps=5,
            record=lf.Record.every(1, ("loss",)),
        )  # fmt: skip
        whole = train(loss, rule)
        assert_array_equal(rest.time, whole.time[7:])


def test_a_rule_goes_on_with_the_time_of_steps_by_a_number():
    loss = make_binary("logistic", 4)
    network, start = lf.Dense((4, 3, 1)), make_start((4, 3, 1))
    plain = lf.train(network, loss, start, method=GradientDescent(0.1), n_steps=5)
    assert plain.final.elapsed is None
    run = lf.train(
        network, loss, plain.final, method=GradientDescent(StepRule.power(0.1, 1.0)), n_steps=2
    )
    assert_allclose(run.final.elapsed, 0.5 + 0.6 + 0.7, rtol=1e-14)


# --- alignment


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("dim", [2, 5, 30])
def test_alignment_takes_one_step(name, dim):
    """What is left after w + eta (kappa v - q w / |w|) with eta = |w| / q is eta kappa v."""
    law = make_law(name, dim)
    v = np.random.default_rng(3).standard_normal(dim)
    loss = lf.SphericalLogisticLoss(v, law)
    start = make_start((dim, 1), (9,), scale=2.0)
    network = lf.Dense((dim, 1))
    arguments = {
        "method": GradientDescent(StepRule.alignment()),
        "n_steps": 3,
        "record": lf.Record.every(1, ("angle", "norm", "product")),
    }
    run = lf.train(network, loss, start, **arguments)
    assert (run.angle[:, 0] > 0.1).all()
    assert (run.angle[:, 1:] < 1e-14 * np.maximum(1, run.norm[:, :1] / run.norm[:, 1:])).all()
    eta = run.norm[:, 0] / law.q(run.norm[:, 0])
    assert_allclose(run.time[:, 1], eta, rtol=1e-13)
    assert_allclose(run.product[:, 1, 0], eta[:, None] * law.kappa * loss.direction, atol=1e-13)
    expected = reference.train(network, loss, start, **arguments)
    assert_allclose(run.time, expected.time, rtol=1e-12)
    assert_allclose(run.norm, expected.norm, rtol=1e-12)


def test_alignment_from_zero_goes_along_the_direction():
    loss = lf.SphericalLogisticLoss([3.0, 4.0], laws.Sphere(2))
    for engine in (lf.train, reference.train):
        run = engine(
            lf.Dense((2, 1)), loss, (np.zeros((1, 2)),), n_steps=1,
            method=GradientDescent(StepRule.alignment()), record=lf.Record.every(1, ("product",)),
        )  # fmt: skip
        step = 4 / loss.law.m2  # the limit of |w| / q(|w|)
        assert_allclose(run.product[1, 0], step * loss.law.kappa * np.array([0.6, 0.8]), rtol=1e-14)
        assert_allclose(run.time, [0.0, step])


def test_alignment_of_drawn_samples_takes_the_norm_of_the_law():
    """The core and the reference alike: the step is |w| / q(|w|), the gradient that of the batch."""
    law = laws.Gaussian(3)
    loss = lf.SphericalLogisticLoss([1.0, 0.0, 0.0], law)
    method = StochasticGradientDescent(StepRule.alignment(), 50, seed=2)
    start, record = make_start((3, 1)), lf.Record.every(1, ("norm",))
    for engine in (lf.train, reference.train):
        run = engine(lf.Dense((3, 1)), loss, start, method=method, n_steps=1, record=record)
        assert_allclose(run.time[1], run.norm[0] / law.q(run.norm[0]), rtol=1e-12)


# --- what they are, and what is refused


def test_repr_is_the_call():
    for rule in (
        StepRule.power(0.1, -0.5),
        StepRule.geometric(0.25, 1.01),
        StepRule.loss_normalized(0.1),
        StepRule.norm_proportional(3.0),
        StepRule.gradient_normalized(1e-3),
        StepRule.alignment(),
    ):
        again = eval(repr(rule), {"StepRule": StepRule})
        assert (again.kind, again.scale, again.exponent) == (rule.kind, rule.scale, rule.exponent)
        assert repr(GradientDescent(rule)).startswith(f"GradientDescent(step_size={rule!r}, ")
    assert repr(StepRule.power([0.1, 0.2], 1.0)) == "StepRule.power(<array (2,)>, 1)"


def test_a_constant_step_size_is_a_number_and_no_rule():
    with pytest.raises(ValueError, match=r"kind must be one of power, .*; got 'constant'"):
        StepRule("constant", 0.1)


def test_kinds_are_numbered_as_in_the_core():
    header = (ROOT / "cpp" / "include" / "linnet" / "step_rule.hpp").read_text()
    for number, kind in enumerate(KINDS):
        assert f"{kind} = {number}," in header
    assert len(re.findall(r"^ *\w+ = \d+,", header, re.MULTILINE)) == len(KINDS)


@pytest.mark.parametrize(
    ("make", "exception", "message"),
    [
        (lambda: StepRule("powre", 0.1), ValueError, "kind must be one of .* did you mean 'power'"),
        (lambda: StepRule(3, 0.1), TypeError, "kind must be a string"),
        (lambda: StepRule.power(0.0, 1.0), ValueError, "scale must be > 0, got 0"),
        (lambda: StepRule.power(-1.0, 1.0), ValueError, "scale must be > 0, got -1"),
        (lambda: StepRule.power([0.1, 0.0], 1.0), ValueError, r"scale must be > 0, got 0.0 at index \(1,\)"),
        (lambda: StepRule.power(np.nan, 1.0), ValueError, "scale must be finite"),
        (lambda: StepRule.power(0.1, np.inf), ValueError, "exponent must be finite, got inf"),
        (lambda: StepRule.power("a", 1.0), TypeError, "scale must be"),
        (lambda: StepRule.power(0.1, None), TypeError, "exponent must be"),
        (lambda: StepRule.geometric(0.1, 0.0), ValueError, "ratio must be > 0, got 0"),
        (lambda: StepRule.geometric(0.1, -2.0), ValueError, "ratio must be > 0, got -2"),
        (lambda: StepRule.geometric([0.1] * 2, [1.0] * 3), ValueError, r"scale \(2,\), exponent \(3,\)"),
        (lambda: StepRule.loss_normalized(True), TypeError, "scale must be .*dtype bool"),
        (lambda: StepRule.loss_normalized([]), ValueError, "scale must not be empty"),
        (lambda: GradientDescent(StepRule.power([0.1] * 2, 1.0), [0.1] * 3), ValueError,
         r"step_size \(2,\), weight_decay \(3,\)"),
        (lambda: GradientDescent(StepRule), TypeError, "step_size must be"),
        (lambda: GradientDescent(StepRule.power(0.1, 1.0)).constant_step_size, ValueError,
         r"step_size must be constant for this, got StepRule.power\(0.1, 1\)"),
    ],
)  # fmt: skip
def test_refused(make, exception, message):
    with pytest.raises(exception, match=message):
        make()


@pytest.mark.parametrize("engine", [lf.train, reference.train])
def test_alignment_is_refused_where_it_does_not_apply(engine):
    method = GradientDescent(StepRule.alignment())
    by_law = lf.SphericalLogisticLoss([1.0, 0.0, 0.0], laws.Sphere(3))
    for loss, widths, got in [
        (by_law, (3, 2, 1), "2 layers and a SphericalLogisticLoss"),
        (make_binary("logistic", 3), (3, 1), "1 layers and a LogisticLoss"),
        (make_loss((3, 1)), (3, 1), "1 layers and a SquaredLoss"),
    ]:
        with pytest.raises(ValueError, match=rf"alignment\(\) needs one layer .*, got {got}"):
            engine(
                lf.Dense(widths), loss, make_start(widths), method=method, n_steps=1,
                record=lf.Record.every(1),
            )  # fmt: skip


def test_run_axes_of_a_rule_are_those_of_the_training():
    loss = make_binary("logistic", 3)
    run = train(loss, StepRule.power([[0.1], [0.2]], [0.0, 0.5, 1.0]), n_steps=3)
    assert run.run_shape == (2, 3)
    assert run.time.shape == (2, 3, 4)
    for i, j in np.ndindex(2, 3):
        alone = train(loss, StepRule.power([0.1, 0.2][i], [0.0, 0.5, 1.0][j]), n_steps=3)
        assert_array_equal(run.time[i, j], alone.time)
        assert_array_equal(run.loss[i, j], alone.loss)
    with pytest.raises(ValueError, match=r"run axes must broadcast .*method \(3,\)"):
        train(loss, StepRule.power([0.1] * 3, 1.0), runs=(2,))
