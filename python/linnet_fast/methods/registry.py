"""Every method there is."""

from __future__ import annotations

from typing import TypeVar, cast

from linnet_fast._base.registry import Registry
from linnet_fast.losses.base import Loss
from linnet_fast.losses.problem import Problem
from linnet_fast.methods.adaptive import Adagrad, Adam, RMSProp
from linnet_fast.methods.base import Method
from linnet_fast.methods.descent import GradientDescent
from linnet_fast.methods.feedback import FeedbackAlignment
from linnet_fast.methods.flow import GradientFlow
from linnet_fast.methods.normalized import SignDescent, SpectralDescent
from linnet_fast.methods.sharpness import SharpnessAware
from linnet_fast.methods.stochastic import StochasticGradientDescent

AnyProblem = TypeVar("AnyProblem", bound=Problem)

METHODS: Registry[type[Method]] = Registry(
    [
        GradientDescent,
        StochasticGradientDescent,
        GradientFlow,
        Adam,
        RMSProp,
        Adagrad,
        SignDescent,
        SpectralDescent,
        SharpnessAware,
        FeedbackAlignment,
    ]
)
"""Name of each method -> its class; ``METHODS.register`` takes another one."""


def checked_method(method: object, n_steps: object, until: object) -> Method:
    """Return `method`; raise TypeError unless it is one and has its own measure of length, and only that.

    Parameters
    ----------
    method : Method
        Measured in steps, or in time.
    n_steps, until : object
        What was given, None if nothing.

    Raises
    ------
    TypeError
        If `method` is none, its measure is missing, or the other one is given.
    """
    if not isinstance(method, Method):
        msg = f"method must be one of {', '.join(METHODS)}, got {type(method).__name__}"
        raise TypeError(msg)
    measures = {"n_steps": n_steps, "until": until}
    wanted, other = ("n_steps", "until") if method.counts_steps else ("until", "n_steps")
    if measures[other] is not None:
        length = {"n_steps": "n_steps, the number of steps", "until": "until, a time"}[wanted]
        msg = f"{other} must be left out: {type(method).__name__} must be given {length}, and not "
        msg += other
        raise TypeError(msg)
    if measures[wanted] is None:
        msg = f"{wanted} must be given with {type(method).__name__}"
        raise TypeError(msg)
    return method


def fitting_loss(loss: AnyProblem, method: Method) -> AnyProblem:
    """Return the form of a loss that a method trains on; anything else as it is.

    Parameters
    ----------
    loss : Loss or Teacher
        As it was given; a teacher stays, until it has drawn a loss.
    method : Method
        How to train.
    """
    given: tuple[object, object] = (loss, method)
    if isinstance(given[0], Loss) and isinstance(given[1], Method) and given[1].batches is not None:
        return cast("AnyProblem", given[0].for_batches())
    return loss
