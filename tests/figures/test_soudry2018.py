"""The slow way to the largest margin: claims can fail, sets are what captions say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib import pyplot as plt
from numpy.testing import assert_allclose, assert_array_equal

import linnet_fast as lf
from linnet_fast.figures import Settings
from linnet_fast.figures.soudry2018 import experiments, margins, separable

QUICK = Settings(quick=True)


def failures(name):
    figure = experiments.EXPERIMENTS[name](QUICK)
    plt.close(figure.picture)
    return [claim.text for claim in figure.claims if not claim.holds]


def turned(best):
    """Return a direction that is a little off."""
    flat = best.direction.reshape(len(best.margin), -1)
    other = np.roll(flat, 1, axis=-1)
    off = flat + 0.01 * other
    off /= np.linalg.norm(off, axis=-1, keepdims=True)
    return replace(best, direction=off.reshape(best.direction.shape))


@pytest.mark.parametrize(
    ("name", "maker"), [("two_classes", "two_classes"), ("several_classes",) * 2]
)
def test_other_directions_are_told_apart(name, maker, monkeypatch):
    true = getattr(margins, maker)

    def off(*arguments, **options):
        x, labels, best = true(*arguments, **options)
        return x, labels, turned(best)

    monkeypatch.setattr(margins, maker, off)
    assert any("falls as 1 / ln t" in text for text in failures(name))


@pytest.mark.parametrize(
    ("name", "maker"), [("two_classes", "two_classes"), ("several_classes",) * 2]
)
def test_other_weights_of_support_vectors_are_told_apart(name, maker, monkeypatch):
    true = getattr(margins, maker)

    def off(*arguments, **options):
        x, labels, best = true(*arguments, **options)
        return x, labels, replace(best, coefficients=1.01 * best.coefficients)

    monkeypatch.setattr(margins, maker, off)
    failed = failures(name)
    assert failed
    assert all("margins of support vectors" in text for text in failed)


def test_sets_of_two_classes():
    x, y, best = separable.two_classes(3, 20, 4, seed=0)
    assert x.shape == (3, 20, 4)
    margin = (y * np.einsum("snd,sd->sn", x, best.direction)) / best.margin[:, None]
    held = best.coefficients > 1e-9
    assert_allclose(margin[held], 1, rtol=1e-6)
    assert margin[~held].min() > 1 + separable.APART


def test_sets_of_several_classes():
    x, labels, best = separable.several_classes(2, 12, 6, 3, seed=0)
    outputs = x @ best.direction.mT
    own = np.take_along_axis(outputs, labels[..., None], axis=-1)
    assert_array_equal(outputs.argmax(axis=-1), labels)
    others = np.arange(3) != labels[..., None]
    held = best.coefficients > 1e-9
    relative = (own - outputs) / best.margin[:, None, None]
    assert_allclose(relative[held], 1, rtol=1e-6)
    assert relative[others & ~held].min() > 1 + separable.APART


def test_records_of_an_approach():
    x, y, best = separable.two_classes(1, 20, 4, seed=0)
    run = separable.follow(lf.LogisticLoss(x, y), best, None)
    last = run.product[0, -1, 0]
    by_hand = np.arccos(last @ best.direction[0] / np.linalg.norm(last))
    assert_allclose(run.angle[0, -1], by_hand, rtol=1e-3)
    least = (y[0] * (x[0] @ last)).min() / np.linalg.norm(last)
    assert_allclose(run.gap[0, -1], 1 - least / best.margin[0], rtol=1e-6)
    assert run.log_time[run.at(separable.LOG_END / 2)] == 500
