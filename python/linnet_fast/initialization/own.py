"""Initial weights of your own: arrays, or a function that makes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from linnet_fast._base import functions, seeds, validate
from linnet_fast._base.seeds import Seed
from linnet_fast._base.streams import numbered
from linnet_fast._base.validate import FloatArray, WeightArray
from linnet_fast.initialization import options
from linnet_fast.networks.chain import Chain, checked_network

Drawing: TypeAlias = Callable[[Chain, np.random.Generator], Sequence[npt.ArrayLike]]
"""A function of the network and of random numbers that returns weights of one run."""


def given(
    network: Chain,
    weights: Sequence[npt.ArrayLike],
    *,
    scale: npt.ArrayLike = 1.0,
    layer_scales: npt.ArrayLike | None = None,
    batch_shape: int | Sequence[int] | None = None,
    dtype: npt.DTypeLike = np.float64,
) -> tuple[WeightArray, ...]:
    """Return copies of given weights, times their scale, with run axes.

    Parameters
    ----------
    network : Chain
        Gives the shapes.
    weights : sequence of array_like, shapes (*run, *network.shapes[l])
        Run axes broadcast to `batch_shape`.
    scale : array_like, default 1
        Factor >= 0 on all layers; broadcasts to `batch_shape`.
    layer_scales : array_like, shape (*run, n_arrays), optional
        Factors on each array of weights, of any sign.
    batch_shape : int or tuple of int, optional
        Run axes of the result; by default those of `scale`.
    dtype : dtype, default float64
        float64 or float32.

    Returns
    -------
    tuple of ndarray, shapes (*batch_shape, *network.shapes[l])

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If shapes do not fit the network, a number is not finite, or run axes do not broadcast.

    Examples
    --------
    >>> import linnet_fast as lf
    >>> [w.tolist() for w in given(lf.Dense((1, 1, 1)), ([[2.0]], [[3.0]]), scale=[1.0, 0.5], batch_shape=2)]
    [[[[2.0]], [[1.0]]], [[[3.0]], [[1.5]]]]
    """
    checked_network(network, Chain)
    known = options.checked(scale, batch_shape, dtype, network=network, layer_scales=layer_scales)
    arrays = validate.weights("weights", weights, network.shapes, dtype=np.float64)
    for array, shape in zip(arrays, network.shapes, strict=True):
        validate.fits_batch("weights", array.shape[: array.ndim - len(shape)], known.runs)
    known.check_room(network)
    return tuple(
        known.finish(np.asarray(array, np.float64), number, len(network.shapes[number]))
        for number, array in enumerate(arrays)
    )


def custom(
    network: Chain,
    function: Drawing | str,
    *,
    scale: npt.ArrayLike = 1.0,
    layer_scales: npt.ArrayLike | None = None,
    rng: Seed = None,
    batch_shape: int | Sequence[int] | None = None,
    streams: npt.ArrayLike | None = None,
    dtype: npt.DTypeLike = np.float64,
) -> tuple[WeightArray, ...]:
    """Return weights that a function of yours makes, once for every run's random stream.

    Parameters
    ----------
    network : Chain
        Gives the shapes.
    function : callable or str
        ``function(network, rng)`` -> weights of one run, shapes network.shapes[l], from a
        `numpy.random.Generator` of that run's own; or where it is, "module:function".
    scale : array_like, default 1
        Factor >= 0 on all layers; broadcasts to `batch_shape`.
    layer_scales : array_like, shape (*run, n_arrays), optional
        Factors on each array of weights, of any sign.
    rng : seed or Generator, optional
        See the module's notes on random streams.
    batch_shape : int or tuple of int, optional
        Run axes of the result; by default those of `scale`.
    streams : array_like of int, optional
        Number >= 0 of the random stream of each run; broadcasts to `batch_shape`. By default runs
        are numbered in C order.
    dtype : dtype, default float64
        float64 or float32.

    Returns
    -------
    tuple of ndarray, shapes (*batch_shape, *network.shapes[l])

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If the function returns something else than finite weights of the network, a number is out of
        range, or run axes do not broadcast.

    Notes
    -----
    What `function` gets depends on `rng` and the run's stream alone: runs are the same in any batch, if
    it makes no use of anything else.

    Examples
    --------
    >>> import linnet_fast as lf
    >>> def sparse(network, rng):
    ...     return [rng.standard_normal(shape) * (rng.random(shape) < 0.5) for shape in network.shapes]
    >>> weights = custom(lf.Dense((3, 4, 2)), sparse, scale=0.1, rng=0, batch_shape=5)
    >>> [w.shape for w in weights]
    [(5, 4, 3), (5, 2, 4)]
    """
    checked_network(network, Chain)
    known = options.checked(scale, batch_shape, dtype, network=network, layer_scales=layer_scales)
    made = functions.imported("function", function) if isinstance(function, str) else function
    validate.function("function", made)
    known.check_room(network)
    numbers, which = numbered(streams, known.runs)
    key = seeds.generator(rng).integers(0, 2**64, size=2, dtype=np.uint64)
    rows = [_made(network, made, key, int(number)) for number in numbers]
    arrays: list[FloatArray] = []
    for number, shape in enumerate(network.shapes):
        drawn = np.stack([row[number] for row in rows])
        of_runs = drawn if which is None else drawn[which]
        arrays.append(of_runs.reshape(*known.runs, *shape))
    return tuple(
        known.finish(array, number, len(network.shapes[number]))
        for number, array in enumerate(arrays)
    )


def _made(
    network: Chain, function: Drawing, key: npt.NDArray[np.uint64], stream: int
) -> tuple[FloatArray, ...]:
    """Return what a function makes of a stream; its errors as they are, with a note."""
    # The upper half of the counter is the stream's: none draws so much as to reach the next.
    source = np.random.Generator(np.random.Philox(key=key, counter=stream << 128))
    try:
        weights = function(network, source)
    except Exception as error:
        error.add_note(f"raised by the start's function, for the random stream {stream}")
        raise
    arrays = validate.weights("function's weights", weights, network.shapes, dtype=np.float64)
    for array, shape in zip(arrays, network.shapes, strict=True):
        if array.shape != shape:
            msg = f"function must return weights of one run, shapes {network.shapes}, got {array.shape}"
            raise ValueError(msg)
    return arrays  # type: ignore[return-value]
