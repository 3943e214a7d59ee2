"""Which networks, losses, methods and records go together: the checks of every kind of training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.losses.base import Loss
from linnet_fast.losses.registry import checked_loss
from linnet_fast.methods.base import Method
from linnet_fast.methods.batches import Batches
from linnet_fast.methods.registry import checked_method
from linnet_fast.networks.chain import Chain, checked_network
from linnet_fast.records.observables import NO_LOSSES, direction_of
from linnet_fast.records.record import Record
from linnet_fast.records.stop import Stop


def check_problem(network: Chain, loss: Loss, name: str = "loss") -> None:
    """Raise unless these are a network and a loss, called so, of as many inputs and outputs."""
    checked_network(network, Chain)
    checked_loss(loss, name)
    if (loss.n_outputs, loss.n_inputs) != (network.n_outputs, network.n_inputs):
        got = f"{loss.n_inputs} inputs and {loss.n_outputs} outputs"
        msg = f"{name} must match the network's widths {network.widths}, got {got}"
        raise ValueError(msg)


def check_evaluated(network: Chain, evaluate: Mapping[str, Loss]) -> None:
    """Raise unless losses that are evaluated have the inputs and outputs of the network."""
    for name, loss in evaluate.items():
        check_problem(network, loss, f"evaluate[{name!r}]")


def check_core(losses: Iterable[Loss], method: Method | None = None) -> None:
    """Raise TypeError unless the compiled core knows losses and a method."""
    unknown: list[object] = [loss for loss in losses if loss.core is None]
    if method is not None and not method.of_core:
        unknown.append(method)
    if unknown:
        kind = type(unknown[0]).__name__
        msg = f"{kind} is for linnet_fast.reference.train, the core does not know it"
        raise TypeError(msg)


def check_training(
    network: Chain,
    loss: Loss,
    method: Method,
    n_steps: int | None,
    until: float | None,
    record: Record | None,
    stop: Stop | None,
) -> FloatArray | None:
    """Return what angles are measured to, or None; raise unless the parts go together.

    Parameters
    ----------
    network : Chain
        What to train.
    loss : Loss
        On what.
    method : Method
        How.
    n_steps : int, optional
        Length of a method that takes steps.
    until : float, optional
        Length of one that is measured in time.
    record : Record, optional
        What is recorded.
    stop : Stop, optional
        When to end before.

    Returns
    -------
    ndarray of float64, shape (*run, in), or None
        Vectors of norm 1.

    Raises
    ------
    TypeError
        If a part has the wrong type, or the length is not that of the method.
    ValueError
        If parts do not fit together.
    """
    checked_method(method, n_steps, until)
    check_problem(network, loss)
    evaluate = NO_LOSSES if record is None else validate.instance("record", record, Record).evaluate
    check_evaluated(network, evaluate)
    if stop is not None:
        for name in validate.instance("stop", stop, Stop).evaluate:
            if name not in evaluate:
                got = f"{name!r}, and it evaluates {', '.join(evaluate) or 'none'}"
                msg = f"stop must have thresholds on losses that the record evaluates, got {got}"
                raise ValueError(msg)
        for row, _ in stop.measures.values():
            row.check(network, loss)
    rows = [] if record is None else [*record.rows.values()]
    for asked in (*rows, *([] if stop is None else (row for row, _ in stop.measures.values()))):
        if "divisors" in asked.needs and not method.divides:
            got = type(method).__name__
            msg = f"{asked.name} is of methods that divide gradients, such as Adam, and {got} does not"
            raise ValueError(msg)
    method.check_network(network)
    if method.batches is not None and "draws" not in loss.supports:
        msg = f"loss must have samples or a law to draw from for {type(method).__name__}, "
        msg += f"got a {type(loss).__name__}"
        raise ValueError(msg)
    if method.batches is not None:
        _check_batches(loss, method.batches)
    rule = method.rule
    needs_alignment = rule is not None and rule.kind == "alignment"
    if needs_alignment and not (network.n_layers == 1 and "alignment" in loss.supports):
        got = f"{network.n_layers} layers and a {type(loss).__name__}"
        msg = f"StepRule.alignment() needs one layer and a SphericalLogisticLoss, got {got}"
        raise ValueError(msg)
    if record is None:
        return None
    return direction_of(network, loss, record.rows, record.direction, evaluate)


def _check_batches(loss: Loss, batches: Batches) -> None:
    """Raise ValueError unless samples of a loss can be drawn that way."""
    if loss.n_choices is None and (batches.sees_all or not batches.replace):
        msg = f"batches must be drawn with replacement for fresh samples of a law, got {batches}"
        raise ValueError(msg)
    if batches.has_noise and "target_noise" not in loss.supports:
        got = type(loss).__name__
        msg = f"label_noise_std must be 0 for a loss without real targets of samples, got a {got}"
        raise ValueError(msg)
