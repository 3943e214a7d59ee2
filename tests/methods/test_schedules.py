"""Schedules of step sizes, and warm-ups of any rule: formulas, the core, the reference, sweeps, files."""

from __future__ import annotations

import math

import numpy as np
import pytest
from binary_problems import RULES, make_binary
from numpy.testing import assert_allclose, assert_array_equal
from support import make_loss, make_start

import linnet_fast as lf
from linnet_fast import directional_convergence as dc
from linnet_fast import laws, reference
from linnet_fast.methods.descent import GradientDescent
from linnet_fast.methods.step_rule import StepRule

SCHEDULES = {
    "piecewise": lambda scale: StepRule.piecewise(
        np.multiply.outer(scale, [1.0, 0.5, 2.0]), [3, 7.5]
    ),
    "cosine": lambda scale: StepRule.cosine(scale, 6, 0.1, 2),
    "inverse_sqrt": lambda scale: StepRule.inverse_sqrt(scale, 4),
}
"""Each by a function of its scale."""
BY_HAND = {
    "piecewise": lambda n: (1.0, 0.5, 2.0)[(n >= 3) + (n >= 7.5)],
    "cosine": lambda n: (
        1.0 if n < 2 else 0.1 if n > 8 else 0.55 + 0.45 * math.cos(math.pi * (n - 2) / 6)
    ),
    "inverse_sqrt": lambda n: 1.0 if n < 4 else 2 / math.sqrt(n + 1),
}


def train(rule, *, start=None, n_steps=12, loss=None, engine=lf.train, **options):
    loss = loss or make_loss((4, 3, 2))
    return engine(
        lf.Dense((4, 3, loss.n_outputs)), loss, start or make_start((4, 3, loss.n_outputs), scale=0.5),
        method=GradientDescent(rule, **options), n_steps=n_steps, record=lf.Record.every(1),
    )  # fmt: skip


@pytest.mark.parametrize("warm", [0, 5])
@pytest.mark.parametrize("name", SCHEDULES)
def test_step_sizes_are_those_of_the_formulas(name, warm):
    """As of torch.optim.lr_scheduler's MultiStepLR and CosineAnnealingLR, written by hand."""
    scale = np.array([0.02, 0.03])
    rule = SCHEDULES[name](scale)
    if warm:
        rule = StepRule.warmup(warm, rule)
    factors = [BY_HAND[name](n) * min(1, (n + 1) / (warm or 1)) for n in range(12)]
    sizes = np.multiply.outer(scale, factors)
    assert_allclose([rule.scheduled(n) for n in range(12)], sizes.T, rtol=1e-14)
    run = train(rule)
    assert_allclose(np.diff(run.time), sizes, rtol=1e-12)
    assert_allclose(train(rule, engine=reference.train).loss, run.loss, rtol=1e-12)
    # All steps by numbers, one training after the other.
    by_number = train(sizes[:, 0], n_steps=1)
    for n in range(1, 12):
        by_number = train(sizes[:, n], start=by_number.final, n_steps=1)
    assert_allclose(by_number.final.weights[0], run.final.weights[0], rtol=1e-12)


@pytest.mark.parametrize("name", [*RULES, *SCHEDULES])
def test_any_rule_is_warmed_up_and_continued_bit_for_bit(name):
    loss = make_binary("logistic", 4)
    rule = {**RULES, **SCHEDULES}[name](np.array([0.02, 0.04]))
    warm = StepRule.warmup(np.array([8.0, 3.0]), rule)
    whole = train(warm, loss=loss, momentum=0.5)
    half = train(warm, loss=loss, momentum=0.5, n_steps=5)
    rest = train(warm, loss=loss, momentum=0.5, n_steps=7, start=half.final)
    assert_array_equal(rest.time, whole.time[:, 5:])
    assert_array_equal(rest.final.weights[0], whole.final.weights[0])
    theirs = train(warm, loss=loss, momentum=0.5, engine=reference.train)
    assert_allclose(whole.time, theirs.time, rtol=1e-12)
    assert_allclose(whole.loss, theirs.loss, rtol=1e-12)
    plain = train(rule, loss=loss, momentum=0.5, n_steps=1)
    assert_allclose(whole.time[:, 1], plain.time[:, 1] / [8.0, 3.0], rtol=1e-14)


@pytest.mark.parametrize("name", SCHEDULES)
def test_reduced_descent_follows_the_same_schedule(name):
    rule = StepRule.warmup(3, SCHEDULES[name](0.3))
    law = laws.Gaussian(3)
    run = lf.train(
        lf.Dense((3, 1)), lf.SphericalLogisticLoss([1.0, 0.0, 0.0], law),
        (np.array([[-0.3, 0.4, 0.0]]),), method=GradientDescent(rule), n_steps=12,
        record=lf.Record.every(1, ("norm", "angle")),
    )  # fmt: skip
    same = dc.reduced_descent(
        law, 1, angle=run.angle[0], norm=run.norm[0], step_size=rule, steps=range(13)
    )
    assert_allclose(same.norm, run.norm, rtol=1e-9)
    assert_allclose(same.angle, run.angle, rtol=1e-8)
    assert_allclose(same.time, run.time, rtol=1e-13, atol=0)


def test_late_laws_of_schedules_are_those_of_what_they_end_as():
    law = laws.Gaussian(3)
    same = [
        (StepRule.piecewise([9.0, 0.5], [100]), StepRule.power(0.5, 0.0)),
        (StepRule.cosine(1.0, 50, 0.25), StepRule.power(0.25, 0.0)),
        (StepRule.warmup(9, StepRule.inverse_sqrt(0.5, 16)), StepRule.power(2.0, -0.5)),
    ]
    for rule, late in same:
        ours, theirs = dc.descent_law(law, rule), dc.descent_law(law, late)
        assert_array_equal(ours.status, theirs.status)
        assert_array_equal(ours.log_tan_half_angle(steps=1e6), theirs.log_tan_half_angle(steps=1e6))
    assert dc.descent_law(law, StepRule.cosine(1.0, 50)).status == "does not converge"


def test_schedules_are_swept_written_and_read(tmp_path):
    training = lf.Training(
        lf.Dense((4, 3, 2)), make_loss((4, 3, 2)), lf.Start("gaussian", scale=0.3),
        method=GradientDescent(StepRule.warmup(4, StepRule.cosine(0.02, 20))), n_steps=12,
        record=lf.Record.every(4),
    )  # fmt: skip
    spec = lf.grid(
        training,
        {"method.step_size.warmup_steps": [0, 4], "method.step_size.n_steps": [10.0, 20.0]},
    )
    result = lf.sweep(spec)
    for number in range(4):
        alone = spec.run(number)
        assert_array_equal(result.loss.values.reshape(4, -1)[number], alone.loss)
    assert (result.loss.values[0, 0] != result.loss.values[1, 1]).any()
    alone.save(tmp_path / "run.npz")
    again = lf.Trajectory.load(tmp_path / "run.npz").method
    assert repr(again) == repr(training.method)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StepRule.piecewise([0.1, 0.2], [3, 4]), r"values must be one more than the 2 boundaries"),
        (lambda: StepRule.piecewise([0.1, 0.2, 0.3], [4, 4]), "boundaries must be increasing"),
        (lambda: StepRule.piecewise([0.1, 0.0], [4]), "values must be > 0"),
        (lambda: StepRule.piecewise(0.1, [4]), r"values must have shape \(\*run, n\), got \(\)"),
        (lambda: StepRule.cosine(0.1, 0), "n_steps must be > 0"),
        (lambda: StepRule.cosine(0.1, 10, 1.5), "floor must be <= 1"),
        (lambda: StepRule.warmup(-1, 0.1), "n_steps must be >= 0"),
        (lambda: StepRule.warmup(5, StepRule.alignment()), "then must be a rule that can be warmed up"),
        (lambda: StepRule.warmup(5, StepRule.warmup(5, 0.1)), "then must be a rule .* and is not yet"),
        (lambda: StepRule("cosine", values=[1.0]), "values must be None for a rule that is cosine"),
        (lambda: StepRule("alignment", warmup_steps=3), "warmup_steps must be 0 of a rule that takes one"),
    ],
)  # fmt: skip
def test_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
