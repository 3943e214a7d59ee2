"""Pictures of trainings and of sweeps. Needs matplotlib, imported when a function is called; `page` needs plotly.

Functions that draw into one panel take ``ax=None`` and return the Axes; `stages` and `spectra` make a Figure. None
of them shows or saves anything, or touches pyplot's state if given an `ax`.
"""

from __future__ import annotations

from linnet_fast.plot.directions import direction, phase_portrait
from linnet_fast.plot.observed import curvature, overlaps, spectra
from linnet_fast.plot.rank_diagrams import one_layer_against_two, step_size_regimes
from linnet_fast.plot.ranks import modes, path_distance, rank_staircase
from linnet_fast.plot.sweep_curves import curves
from linnet_fast.plot.sweep_grid import grid
from linnet_fast.plot.sweep_map import heatmap
from linnet_fast.plot.sweep_page import page
from linnet_fast.plot.trainings import loss, rank, singular_values, stages

__all__ = [
    "curvature",
    "curves",
    "direction",
    "grid",
    "heatmap",
    "loss",
    "modes",
    "one_layer_against_two",
    "overlaps",
    "page",
    "path_distance",
    "phase_portrait",
    "rank",
    "rank_staircase",
    "singular_values",
    "spectra",
    "stages",
    "step_size_regimes",
]
