"""Deep linear networks, trained many at once, fast and exactly.

Start with `train`; `show_config` tells what this installation runs on.
"""

from __future__ import annotations

import logging
from importlib.metadata import version

from linnet_fast import (
    directional_convergence,
    initialization,
    laws,
    layers,
    rank_dynamics,
    regularizers,
)
from linnet_fast._base.config import show_config
from linnet_fast.costs.design import NoParameterizationError, Verification, parameterize, verify
from linnet_fast.costs.induced import InducedRegularizer, what_is
from linnet_fast.costs.representation_cost import (
    RepresentationCost,
    depth_limit,
    representation_cost,
)
from linnet_fast.initialization.start import Start
from linnet_fast.losses.binary import ExponentialLoss, LogisticLoss, SphericalLogisticLoss
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.methods.descent import GradientDescent, GradientFlow, StochasticGradientDescent
from linnet_fast.methods.step_rule import StepRule
from linnet_fast.networks.chain import Chain, parallel
from linnet_fast.networks.named import Convolution, Dense, Diagonal, Grouped, Residual
from linnet_fast.records.record import Record, Stop
from linnet_fast.sweeps.sweep import (
    Axis,
    SweepError,
    SweepEstimate,
    SweepProgress,
    SweepSpec,
    estimate_sweep,
    grid,
    open_sweep,
    paired,
    sampled,
    sweep,
)
from linnet_fast.training.description import Training
from linnet_fast.training.state import State, Status
from linnet_fast.training.train import train
from linnet_fast.training.trajectory import DivergenceError, Trajectory

__version__ = version("linnet-fast")

__all__ = [
    "Axis",
    "Chain",
    "Convolution",
    "Dense",
    "Diagonal",
    "DivergenceError",
    "ExponentialLoss",
    "GradientDescent",
    "GradientFlow",
    "Grouped",
    "InducedRegularizer",
    "LogisticLoss",
    "NoParameterizationError",
    "Record",
    "RepresentationCost",
    "Residual",
    "SphericalLogisticLoss",
    "SquaredLoss",
    "Start",
    "State",
    "Status",
    "StepRule",
    "StochasticGradientDescent",
    "Stop",
    "SweepError",
    "SweepEstimate",
    "SweepProgress",
    "SweepSpec",
    "Training",
    "Trajectory",
    "Verification",
    "__version__",
    "depth_limit",
    "directional_convergence",
    "estimate_sweep",
    "grid",
    "initialization",
    "laws",
    "layers",
    "open_sweep",
    "paired",
    "parallel",
    "parameterize",
    "rank_dynamics",
    "regularizers",
    "representation_cost",
    "sampled",
    "show_config",
    "sweep",
    "train",
    "verify",
    "what_is",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())
