"""Every loss there is."""

from __future__ import annotations

from linnet_fast._base.registry import Registry
from linnet_fast.losses.base import Loss
from linnet_fast.losses.completion import MatrixCompletionLoss
from linnet_fast.losses.cross_entropy import CrossEntropyLoss
from linnet_fast.losses.custom import CustomLoss
from linnet_fast.losses.problem import Problem
from linnet_fast.losses.sampled import SampledSquaredLoss
from linnet_fast.losses.samples import ExponentialLoss, LogisticLoss
from linnet_fast.losses.sensing import MatrixSensingLoss, RankOneSensingLoss
from linnet_fast.losses.spherical import SphericalLogisticLoss
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.losses.teacher import TeacherLoss

LOSSES: Registry[type[Loss]] = Registry(
    [
        SquaredLoss,
        SampledSquaredLoss,
        LogisticLoss,
        ExponentialLoss,
        CrossEntropyLoss,
        SphericalLogisticLoss,
        MatrixCompletionLoss,
        MatrixSensingLoss,
        RankOneSensingLoss,
        CustomLoss,
        TeacherLoss,
    ]
)
"""Name of each loss -> its class; ``LOSSES.register`` takes another one."""


def of_data() -> dict[str, type[Loss]]:
    """Return the losses that data make, by the words of the command line.

    Examples
    --------
    >>> list(of_data())[:3]
    ['squared', 'logistic', 'exponential']
    """
    return {
        (kind.core or name).replace("_", "-"): kind
        for name, kind in LOSSES.items()
        if kind.data_kind is not None
    }


def checked_loss(loss: object, name: str = "loss") -> Loss:
    """Return `loss`, which must be a loss."""
    if not isinstance(loss, Loss):
        hint = f", {loss.hint}" if isinstance(loss, Problem) else ""
        msg = f"{name} must be one of {', '.join(LOSSES)}, got {type(loss).__name__}{hint}"
        raise TypeError(msg)
    return loss


def checked_problem(loss: object) -> Problem:
    """Return `loss`, which must be a loss, or a recipe of one."""
    return loss if isinstance(loss, Problem) else checked_loss(loss)
