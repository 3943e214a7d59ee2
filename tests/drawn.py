"""Parts of trainings that hypothesis draws."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

import linnet_fast as lf
from linnet_fast import reference


def draw_factors(draw, rng, runs, n_layers):
    """Return weight decay and layer multipliers: none, common ones, or each run's own."""
    decay = draw(st.sampled_from([0.0, 0.3, "own"]))
    multipliers = draw(st.sampled_from([None, "shared", "own"]))
    own = runs if multipliers == "own" else ()
    return (
        rng.choice([0.0, 0.1, 1.0], runs) if decay == "own" else decay,
        None if multipliers is None else rng.uniform(0, 2, (*own, n_layers)),
    )


def draw_stop(draw, rng, start, loss):
    """Return None, or thresholds that some runs reach early."""
    if start[0].dtype != np.float64 or not draw(st.booleans()):
        return None  # float32 might miss a threshold by rounding
    first = reference.observe("loss", start, loss)
    return lf.Stop(loss=np.where(rng.random(first.shape) < 0.5, 0.995 * first, 0.0), check_every=3)
