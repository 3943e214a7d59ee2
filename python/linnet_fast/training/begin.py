"""From where a training begins: start weights, or the state of an earlier one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import Shape, WeightArray
from linnet_fast.losses.base import Loss
from linnet_fast.methods.base import Method
from linnet_fast.networks.chain import Chain
from linnet_fast.records.observables import NO_LOSSES
from linnet_fast.records.stop import Stop
from linnet_fast.training.state import State, goes_on

NO_SHAPES: Mapping[str, Shape] = MappingProxyType({})
_SMALLEST = 1e-140  # squares of weights, and what is far below them, must not underflow


def begin_state(
    network: Chain,
    loss: Loss,
    start: Sequence[npt.ArrayLike] | State,
    method: Method,
    stop: Stop | None,
    dtype: npt.DTypeLike | None = None,
    evaluate: Mapping[str, Loss] = NO_LOSSES,
    others: Mapping[str, Shape] = NO_SHAPES,
) -> State:
    """Return the state to begin from, its weights views with all run axes.

    Parameters
    ----------
    network : Chain
        What to train.
    loss : Loss
        On what.
    start : tuple of array_like, or State
        Start weights, or a state to continue.
    method : Method
        How.
    stop : Stop, optional
        When to end before.
    dtype : dtype, optional
        Of the weights; by default that of `start`.
    evaluate : mapping of str to Loss
        Losses that are evaluated besides; they may have run axes, too.
    others : mapping of str to tuple of int
        Run axes of what comes later, by name.

    Returns
    -------
    State
        With a memory, of zeros at first, if the method has one.

    Raises
    ------
    TypeError, ValueError
        If weights or a state do not fit the network, the method or the run axes.
    """
    shapes = {"loss": loss.run_shape, "method": method.run_shape}
    if stop is not None:
        shapes["stop"] = stop.run_shape
    shapes |= {f"evaluate[{name!r}]": other.run_shape for name, other in evaluate.items()}
    shapes |= others
    if isinstance(start, State):
        state = _continued(network, start, method, dtype)
        for name, shape in shapes.items():
            validate.fits_batch(name, shape, state.status.shape)
    else:
        weights = validate.weights("start", start, network.shapes, dtype=dtype)
        inner = network.shapes
        lead = (w.shape[: w.ndim - len(s)] for w, s in zip(weights, inner, strict=True))
        runs = validate.broadcast_runs(start=np.broadcast_shapes(*lead), **shapes)
        full = _in_order(weights, runs, inner)
        kind = np.int64 if method.counts_steps else np.float64
        state = State(
            full,
            0 if method.counts_steps else None,
            np.broadcast_to(np.int8(0), runs),
            np.broadcast_to(np.zeros((), kind), runs),
            None if method.counts_steps else 0.0,
            memory=first_memory(full, method),
            memory_of=name_of_memory(method),
        )
    if not method.counts_steps:
        _check_flow(state)
    return state


def first_memory(
    weights: tuple[WeightArray, ...], method: Method
) -> tuple[tuple[WeightArray, ...], ...]:
    """Return what a method remembers where it begins, as states have it."""
    return method.first_memory(weights) if method.n_memories else ()


def name_of_memory(method: Method) -> str | None:
    """Return whose memory a state has that a method begins with."""
    return method.remembers if method.n_memories else None


def _continued(network: Chain, state: State, method: Method, dtype: npt.DTypeLike | None) -> State:
    """Return a state of an earlier training; refuse one of another kind."""
    state.check_network(network)
    if (state.time is None) != method.counts_steps:
        was = "gradient flow" if method.counts_steps else "gradient descent"
        msg = f"start must be weights, or a state of the same method, got one of {was}; "
        msg += "start anew from its weights: state.weights"
        raise ValueError(msg)
    kind = state.weights[0].dtype
    if dtype is not None and validate.float_dtype("dtype", dtype) != kind:
        msg = f"dtype must be {kind} to continue a training in {kind}, got {np.dtype(dtype)}"
        raise ValueError(msg)
    had = len(state.memory[0]) if state.memory else 0
    if had != method.n_memories:
        wanted = f"{method.n_memories} remembered arrays per array of weights"
        msg = f"start must be weights, or a state of a method like {method} with {wanted}, got {had}; "
        msg += "start anew from its weights: state.weights"
        raise ValueError(msg)
    own = name_of_memory(method)
    if state.memory_of is not None and state.memory and state.memory_of != own:
        msg = f"start must be weights, or a state whose memory is of {own}, got one of {state.memory_of}; "
        msg += "start anew from its weights, state.weights, or by a Phase with reset=True"
        raise ValueError(msg)
    # Made by hand, or read from elsewhere, its arrays may lie in any order.
    weights = _in_order(state.weights, state.status.shape, network.shapes)
    return replace(state, weights=weights, memory_of=own)


def _in_order(
    weights: tuple[WeightArray, ...], runs: Shape, shapes: Sequence[Shape]
) -> tuple[WeightArray, ...]:
    """Return weights with all run axes, those of each run side by side: sums go along memory."""
    return tuple(
        validate.over_runs(w, runs, len(shape)) for w, shape in zip(weights, shapes, strict=True)
    )


def _check_flow(state: State) -> None:
    """Refuse weights that a flow cannot be integrated from."""
    if state.weights[0].dtype != np.float64:
        msg = "start must be float64 for gradient flow, got float32; pass dtype=np.float64"
        raise ValueError(msg)
    runs = state.status.shape
    for layer, array in enumerate(state.weights):
        axes = tuple(range(len(runs), array.ndim))
        size = np.abs(validate.unbroadcast(array, keep=len(axes))).max(axis=axes)
        going = goes_on(validate.unbroadcast(state.status))
        outside = (size > 0) & ~((size > _SMALLEST) & (size < 1 / _SMALLEST)) & going
        expected = f"0 or between {_SMALLEST:g} and {1 / _SMALLEST:g} for gradient flow"
        sizes = np.broadcast_to(size, outside.shape)
        validate.refuse(f"largest entry of start[{layer}]", expected, sizes, outside)
