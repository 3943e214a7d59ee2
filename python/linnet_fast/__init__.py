"""Deep linear networks, trained many at once, fast and exactly.

Start with `train`; `show_config` tells what this installation runs on.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING

from linnet_fast import initialization, laws, layers, observables
from linnet_fast._base.config import show_config
from linnet_fast.initialization.start import Start
from linnet_fast.losses.completion import MatrixCompletionLoss
from linnet_fast.losses.cross_entropy import CrossEntropyLoss
from linnet_fast.losses.custom import CustomLoss
from linnet_fast.losses.sampled import SampledSquaredLoss
from linnet_fast.losses.samples import ExponentialLoss, LogisticLoss
from linnet_fast.losses.sensing import MatrixSensingLoss, RankOneSensingLoss
from linnet_fast.losses.spherical import SphericalLogisticLoss
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.losses.teacher import TeacherLoss
from linnet_fast.methods.adaptive import Adagrad, Adam, RMSProp
from linnet_fast.methods.batches import Batches
from linnet_fast.methods.descent import GradientDescent
from linnet_fast.methods.feedback import FeedbackAlignment
from linnet_fast.methods.flow import GradientFlow
from linnet_fast.methods.noise import GaussianNoise
from linnet_fast.methods.normalized import SignDescent, SpectralDescent
from linnet_fast.methods.sharpness import SharpnessAware
from linnet_fast.methods.step_rule import StepRule
from linnet_fast.methods.stochastic import StochasticGradientDescent
from linnet_fast.networks.chain import Chain, parallel
from linnet_fast.networks.named import Convolution, Dense, Diagonal, Grouped, Residual
from linnet_fast.records.observables import OBSERVABLES, Observable
from linnet_fast.records.record import Record
from linnet_fast.records.stop import Stop
from linnet_fast.teachers.teacher import Teacher
from linnet_fast.training.description import Training
from linnet_fast.training.observe import observe
from linnet_fast.training.phase import Phase
from linnet_fast.training.reduced import reduced
from linnet_fast.training.state import State, Status
from linnet_fast.training.train import train
from linnet_fast.training.trajectory import DivergenceError, Trajectory

if TYPE_CHECKING:
    from linnet_fast import (  # noqa: F401  (attributes, not for `import *`)
        datasets,
        directional_convergence,
        figures,
        plot,
        rank_dynamics,
        reference,
        regularizers,
        sklearn,
    )
    from linnet_fast.costs.design import NoParameterizationError, Verification, parameterize, verify
    from linnet_fast.costs.induced import InducedRegularizer, what_is
    from linnet_fast.costs.representation_cost import (
        RepresentationCost,
        depth_limit,
        representation_cost,
    )
    from linnet_fast.sweeps.sweep import (
        Axis,
        SweepError,
        SweepEstimate,
        SweepProgress,
        SweepSpec,
        estimate_sweep,
        grid,
        open_spec,
        open_sweep,
        paired,
        sampled,
        sweep,
    )

__version__: str

__all__ = [
    "OBSERVABLES",
    "Adagrad",
    "Adam",
    "Axis",
    "Batches",
    "Chain",
    "Convolution",
    "CrossEntropyLoss",
    "CustomLoss",
    "Dense",
    "Diagonal",
    "DivergenceError",
    "ExponentialLoss",
    "FeedbackAlignment",
    "GaussianNoise",
    "GradientDescent",
    "GradientFlow",
    "Grouped",
    "InducedRegularizer",
    "LogisticLoss",
    "MatrixCompletionLoss",
    "MatrixSensingLoss",
    "NoParameterizationError",
    "Observable",
    "Phase",
    "RMSProp",
    "RankOneSensingLoss",
    "Record",
    "RepresentationCost",
    "Residual",
    "SampledSquaredLoss",
    "SharpnessAware",
    "SignDescent",
    "SpectralDescent",
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
    "Teacher",
    "TeacherLoss",
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
    "observables",
    "observe",
    "open_spec",
    "open_sweep",
    "paired",
    "parallel",
    "parameterize",
    "rank_dynamics",
    "reduced",
    "regularizers",
    "representation_cost",
    "sampled",
    "show_config",
    "sweep",
    "train",
    "verify",
    "what_is",
]

# What is imported when it is first asked for, for few need it and it takes its time.
_MODULES = (
    "datasets",
    "directional_convergence",
    "figures",
    "plot",
    "rank_dynamics",
    "reference",
    "regularizers",
    "sklearn",
)
_NAMES = {
    "costs.design": ("NoParameterizationError", "Verification", "parameterize", "verify"),
    "costs.induced": ("InducedRegularizer", "what_is"),
    "costs.representation_cost": ("RepresentationCost", "depth_limit", "representation_cost"),
    "sweeps.sweep": (
        "Axis",
        "SweepError",
        "SweepEstimate",
        "SweepProgress",
        "SweepSpec",
        "estimate_sweep",
        "grid",
        "open_spec",
        "open_sweep",
        "paired",
        "sampled",
        "sweep",
    ),
}
_PLACES = {name: f"{__name__}.{module}" for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Import what has not been needed so far."""
    if name in _MODULES:
        return importlib.import_module(f"linnet_fast.{name}")
    if name in _PLACES:
        found: object = getattr(importlib.import_module(_PLACES[name]), name)
    elif name == "__version__":
        found = importlib.import_module("importlib.metadata").version("linnet-fast")
    else:
        message = f"module 'linnet_fast' has no attribute {name!r}"
        raise AttributeError(message)
    globals()[name] = found
    return found


logging.getLogger(__name__).addHandler(logging.NullHandler())


def __dir__() -> list[str]:
    """List what is public."""
    return sorted({*__all__, *_MODULES})
