"""Regularizers of predictors: values, dual norms, proximal operators.

Each is a frozen value with ``value(x)``, ``prox(x, step)`` and, where it is a norm, ``dual(z)``;
all are batched over leading axes. `linnet_fast.parameterize` finds the network whose representation
cost is a given regularizer.
"""

from __future__ import annotations

from linnet_fast.regularizers._base import Regularizer
from linnet_fast.regularizers.combined import InfimalConvolution
from linnet_fast.regularizers.coordinates import (
    L1,
    L2,
    OWL,
    Huber,
    KSupport,
    LInf,
    Lp,
    SquaredL2,
    WeightedL1,
)
from linnet_fast.regularizers.elastic_net import ElasticNet
from linnet_fast.regularizers.fourier import FourierL1, FourierLp
from linnet_fast.regularizers.groups import ExclusiveLasso, GroupLasso, LatentGroupLasso
from linnet_fast.regularizers.mixed import MixedGroup
from linnet_fast.regularizers.structured import Atomic, NuclearNorm, SchattenP, TotalVariation

SLOPE = OWL

__all__ = [
    "L1",
    "L2",
    "OWL",
    "SLOPE",
    "Atomic",
    "ElasticNet",
    "ExclusiveLasso",
    "FourierL1",
    "FourierLp",
    "GroupLasso",
    "Huber",
    "InfimalConvolution",
    "KSupport",
    "LInf",
    "LatentGroupLasso",
    "Lp",
    "MixedGroup",
    "NuclearNorm",
    "Regularizer",
    "SchattenP",
    "SquaredL2",
    "TotalVariation",
    "WeightedL1",
]
