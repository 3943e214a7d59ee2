"""The experiments by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from linnet_fast.figures.dai2021.balls import balls_2d, balls_3d
from linnet_fast.figures.dai2021.kernels import channels, depth_limit, kernel_width, spectra
from linnet_fast.figures.dai2021.scalars import elastic_net, residual
from linnet_fast.figures.dai2021.training import lasso_path, minima, training
from linnet_fast.figures.report import Experiment

EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType(
    {
        "balls_2d": balls_2d,
        "balls_3d": balls_3d,
        "kernel_width": kernel_width,
        "spectra": spectra,
        "depth_limit": depth_limit,
        "channels": channels,
        "residual": residual,
        "elastic_net": elastic_net,
        "lasso_path": lasso_path,
        "training": training,
        "minima": minima,
    }
)
"""Name of each experiment -> its function."""
