"""Which losses, methods, observables and networks go together."""

from __future__ import annotations

import numpy as np

from linnet_fast._base.validate import FloatArray
from linnet_fast.losses.binary import Loss, SphericalLogisticLoss, unit_vectors
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.methods.descent import GradientDescent, Method, StochasticGradientDescent
from linnet_fast.networks.chain import Chain
from linnet_fast.networks.named import Dense
from linnet_fast.records.record import OF_DENSE_LAYERS, OF_DIRECTION, Record


def check_method(network: Chain, loss: Loss, method: Method) -> None:
    """Raise ValueError unless a method can go down a loss of a network.

    Parameters
    ----------
    network : Chain
        What to train.
    loss : SquaredLoss, LogisticLoss, ExponentialLoss or SphericalLogisticLoss
        On what.
    method : GradientDescent or GradientFlow
        How.

    Raises
    ------
    ValueError
        If samples cannot be drawn of the loss, or a step rule does not apply.
    """
    if isinstance(method, StochasticGradientDescent) and isinstance(loss, SquaredLoss):
        msg = "loss must have samples or a law to draw from for StochasticGradientDescent, "
        msg += "got a SquaredLoss, which knows moments only"
        raise ValueError(msg)  # noqa: TRY004  (the two do not go together; either is a valid type)
    rule = method.rule if isinstance(method, GradientDescent) else None
    one_layer = network.n_layers == 1 and isinstance(loss, SphericalLogisticLoss)
    if rule is not None and rule.kind == "alignment" and not one_layer:
        got = f"{network.n_layers} layers and a {type(loss).__name__}"
        msg = f"StepRule.alignment() needs one layer and a SphericalLogisticLoss, got {got}"
        raise ValueError(msg)


def check_observables(network: Chain, loss: Loss, record: Record) -> FloatArray | None:
    """Return what angles are measured to, or None; refuse observables that do not exist here.

    Parameters
    ----------
    network : Chain
        What is trained.
    loss : SquaredLoss, LogisticLoss, ExponentialLoss or SphericalLogisticLoss
        On what.
    record : Record
        What is wanted.

    Returns
    -------
    ndarray of float64, shape (*run, in), or None
        Vectors of norm 1.

    Raises
    ------
    ValueError
        If an observable needs one output, samples, a direction or dense layers.
    """
    for name in record.observables:
        if name in OF_DENSE_LAYERS and not isinstance(network, Dense):
            msg = f"{name} is of networks of dense layers, got {network!r}"
            raise ValueError(msg)
        if name == "margin" and isinstance(loss, SquaredLoss | SphericalLogisticLoss):
            msg = f"margin is of samples with labels, and a {type(loss).__name__} has none"
            raise ValueError(msg)
        if name in OF_DIRECTION and network.n_outputs != 1:
            msg = f"{name} is of networks with one output, got {network.n_outputs}"
            raise ValueError(msg)
    if not set(OF_DIRECTION) & set(record.observables):
        return None
    if record.direction is not None:
        vector = np.asarray(record.direction)
        if len(vector) != network.n_inputs:
            msg = f"direction must have {network.n_inputs} entries, got {len(vector)}"
            raise ValueError(msg)
        return unit_vectors("direction", vector)
    if isinstance(loss, SphericalLogisticLoss):
        return loss.direction
    msg = f"angles need a direction, and a {type(loss).__name__} has none: pass Record a direction"
    raise ValueError(msg)
