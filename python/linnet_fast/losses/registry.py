"""Every loss there is."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

from linnet_fast.losses.base import Loss
from linnet_fast.losses.samples import ExponentialLoss, LogisticLoss
from linnet_fast.losses.spherical import SphericalLogisticLoss
from linnet_fast.losses.squared import SquaredLoss

_Kind = TypeVar("_Kind", bound=type[Loss])

_KINDS: dict[str, type[Loss]] = {}

LOSSES: Mapping[str, type[Loss]] = MappingProxyType(_KINDS)
"""Name of each loss -> its class."""


def register(kind: _Kind) -> _Kind:
    """Make a loss known by its name: to files, configurations and tests. May decorate the class.

    Parameters
    ----------
    kind : subclass of Loss
        With a name of its own.

    Returns
    -------
    type
        `kind`.

    Raises
    ------
    ValueError
        If another loss has the name.
    """
    if _KINDS.setdefault(kind.__name__, kind) is not kind:
        msg = f"kind must have a name of its own, got a second {kind.__name__}"
        raise ValueError(msg)
    return kind


for _kind in (SquaredLoss, LogisticLoss, ExponentialLoss, SphericalLogisticLoss):
    register(_kind)


def checked_loss(loss: object) -> Loss:
    """Return `loss`, which must be a loss."""
    if not isinstance(loss, Loss):
        msg = f"loss must be one of {', '.join(LOSSES)}, got {type(loss).__name__}"
        raise TypeError(msg)
    return loss
