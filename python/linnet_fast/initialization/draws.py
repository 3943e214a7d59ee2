"""Initial weights: random, orthogonal, balanced, or aligned with the data.

Every function returns a tuple of one C-contiguous array per layer, of shape ``(*batch_shape, out_l,
in_l)``. Each run has a random stream of its own, keyed by its index in the batch or by `streams`: what
it gets depends on `rng`, its stream and the network, not on how many runs there are. `rng` follows
SPEC 7: anything ``numpy.random.default_rng`` takes; None draws from the system.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from linnet_fast._base import algebra, elementary, validate
from linnet_fast._base.seeds import Seed
from linnet_fast._base.validate import FloatArray, Shape, WeightArray
from linnet_fast.initialization import nominal
from linnet_fast.initialization.streams import Draw
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.networks.chain import Chain, checked_network
from linnet_fast.networks.named import Dense

_MOST_AXES = 30


def gaussian(
    network: Chain,
    *,
    scale: npt.ArrayLike = 1.0,
    fan: Literal["in", "none"] = "in",
    width: npt.ArrayLike | None = None,
    width_exponent: npt.ArrayLike = 0.0,
    rng: Seed = None,
    batch_shape: int | Sequence[int] = (),
    streams: npt.ArrayLike | None = None,
    dtype: npt.DTypeLike = np.float64,
) -> tuple[WeightArray, ...]:
    """Return weights with independent normal entries.

    Parameters
    ----------
    network : Chain
        Gives the shapes.
    scale : array_like, default 1
        Factor >= 0 on all layers; broadcasts to `batch_shape`.
    fan : {"in", "none"}
        Standard deviation of an entry: scale / sqrt(n), where an output of the layer sees n weights
        (of a dense layer its inputs; on average, if that differs), or scale itself.
    width : array_like, optional
        Hidden width of the network that these weights are of in law, for `Dense` ones of two layers:
        whole numbers from 1 to 1e12, or inf; broadcasts to `batch_shape`. The hidden layer of `network`
        stands for it, exactly, if it has as many units as there are inputs and outputs together.
    width_exponent : array_like, default 0
        Entries are multiplied by the hidden width to the power of minus this; broadcasts to
        `batch_shape`. For `Dense` networks with hidden layers of one width.
    rng : seed or Generator, optional
        See the module's notes on random streams.
    batch_shape : int or tuple of int, default ()
        Run axes of the result.
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
        If a number is out of range or does not broadcast to `batch_shape`, or the network is not one for
        a width.

    Notes
    -----
    Gradient descent turned in the hidden space is gradient descent. Of two wide layers all that
    matters is the R factor of their columns side by side, the law of which is Bartlett's. So a width of
    10^9 costs what inputs + outputs cost; at infinity, where weights have to be divided by at least the
    root of the width (`width_exponent` 1/2), columns are orthogonal.

    References
    ----------
    M. S. Bartlett, "On the theory of statistical regression", Proceedings of the Royal Society of
    Edinburgh 53 (1933). Exponents of the width: T. Luo, Z.-Q. J. Xu, Z. Ma, Y. Zhang, "Phase diagram for
    two-layer ReLU neural networks at infinite-width limit", JMLR 22 (2021).

    Examples
    --------
    >>> weights = gaussian(Dense((3, 5, 2)), scale=[[0.1], [1.0]], rng=0, batch_shape=(2, 4))
    >>> [w.shape for w in weights]
    [(2, 4, 5, 3), (2, 4, 2, 5)]

    Three inputs, two outputs, and hidden layers of a hundred to a billion units:

    >>> weights = gaussian(Dense((3, 5, 2)), width=[1e2, 1e9], rng=0, batch_shape=2)
    >>> [w.shape for w in weights]
    [(2, 5, 3), (2, 2, 5)]
    """
    checked_network(network, Chain)
    validate.choice("fan", fan, ("in", "none"))
    runs, factor, kind = _options(scale, batch_shape, dtype)
    exponent = validate.real_array("width_exponent", width_exponent)
    validate.fits_batch("width_exponent", exponent.shape, runs)
    if width is not None:
        dense = checked_network(network, Dense)
        if dense.n_layers > 2:
            msg = "width must be left out of Gaussian starts of more than two layers: their hidden "
            msg += f"spaces train whole, got {dense.n_layers} layers"
            raise ValueError(msg)
        widths = _checked_width(dense, width, runs, at_least=1)
        layers = _wide_gaussian(
            dense,
            widths,
            exponent,
            fan_in=fan == "in",
            numbers=partial(_normals, rng, runs, streams),
        )
        spread = factor[..., None, None]
        return tuple(_finish(spread * layer, runs, kind) for layer in layers)
    if exponent.any():
        hidden = set(checked_network(network, Dense).widths[1:-1])
        if len(hidden) != 1:
            msg = "width_exponent must be 0 but for hidden layers of one width, "
            msg += f"got widths {network.widths}"
            raise ValueError(msg)
        factor = factor * _power(float(hidden.pop()), -exponent)
    draw = Draw(rng, runs, streams, network.shapes)
    fans = dict.fromkeys(range(network.n_arrays), 1.0)
    for layer, number in zip(network.layers, network.share, strict=True):
        if fan == "in" and number is not None:
            fans[number] = max(fans[number], layer.fan_in)
    result = []
    for number, block in enumerate(draw.blocks):
        inner = len(network.shapes[number])
        spread = factor.reshape(*factor.shape, *(1,) * inner) / math.sqrt(fans[number])
        result.append(_finish(draw.of_runs(block) * spread, runs, kind, inner))
    return tuple(result)


def orthogonal(
    network: Dense,
    *,
    scale: npt.ArrayLike = 1.0,
    width: npt.ArrayLike | None = None,
    rng: Seed = None,
    batch_shape: int | Sequence[int] = (),
    streams: npt.ArrayLike | None = None,
    dtype: npt.DTypeLike = np.float64,
) -> tuple[WeightArray, ...]:
    """Return weights whose layers are scaled orthogonal matrices, uniform (Haar) at random.

    Rectangular layers have orthonormal rows or columns, whichever are fewer, times the scale.

    Parameters
    ----------
    network : Dense
        Gives the shapes.
    scale : array_like, default 1
        Factor >= 0 on all layers: all singular values of each layer. Broadcasts to `batch_shape`.
    width : array_like, optional
        Common width of the hidden layers of the network that these weights are of in law: whole
        numbers from the larger of inputs and outputs to 1e12, or inf; broadcasts to `batch_shape`. The
        hidden layers of `network` stand for it, exactly, if they have as many units as there are inputs
        and outputs together; layers between have the singular values of these units only.
    rng : seed or Generator, optional
        See the module's notes on random streams.
    batch_shape : int or tuple of int, default ()
        Run axes of the result.
    streams : array_like of int, optional
        Number >= 0 of the random stream of each run; broadcasts to `batch_shape`. By default runs
        are numbered in C order.
    dtype : dtype, default float64
        float64 or float32.

    Returns
    -------
    tuple of ndarray, shapes (*batch_shape, widths[l + 1], widths[l])

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If a number is out of range or does not broadcast to `batch_shape`, or the network is not one for
        a width.

    References
    ----------
    F. Mezzadri, "How to generate random matrices from the classical compact groups", Notices of the
    AMS 54 (2007): QR with the signs of R's diagonal moved into Q is Haar distributed.

    Examples
    --------
    >>> import numpy as np
    >>> (w,) = orthogonal(Dense((3, 2)), scale=2.0, rng=0)
    >>> np.allclose(w @ w.T, 4 * np.eye(2))
    True
    >>> orthogonal(Dense((3, 5, 5, 2)), width=10**9, rng=0)[-1].shape
    (2, 5)
    """
    checked_network(network, Dense)
    runs, factor, kind = _options(scale, batch_shape, dtype)
    if width is not None:
        widths = _checked_width(
            network, width, runs, at_least=max(network.n_inputs, network.n_outputs)
        )
        layers = _wide_orthogonal(network, widths, numbers=partial(_normals, rng, runs, streams))
        spread = factor[..., None, None]
        return tuple(_finish(spread * layer, runs, kind) for layer in layers)
    draw = Draw(rng, runs, streams, network.shapes)
    wide = (b.mT if b.shape[-1] > b.shape[-2] else b for b in draw.blocks)
    bases = (draw.of_runs(algebra.orthonormal_columns(layer)) for layer in wide)
    return tuple(
        _finish(factor[..., None, None] * (q if q.shape[-2:] == shape else q.mT), runs, kind)
        for q, shape in zip(bases, network.shapes, strict=True)
    )


def balanced(
    network: Dense,
    *,
    product: npt.ArrayLike | None = None,
    scale: npt.ArrayLike = 1.0,
    rng: Seed = None,
    batch_shape: int | Sequence[int] = (),
    streams: npt.ArrayLike | None = None,
    dtype: npt.DTypeLike = np.float64,
) -> tuple[WeightArray, ...]:
    """Return balanced weights, W_{l+1}^T W_{l+1} = W_l W_l^T, of a given or random product.

    The end-to-end matrix U S V^T is split evenly, W_l = O_l S^(1/L) O_{l-1}^T with O_L = U and O_0
    = V; the hidden bases O_l are random with orthonormal columns, one draw per run.

    Parameters
    ----------
    network : Dense
        Gives the shapes.
    product : array_like, shape (*run, out, in), optional
        End-to-end matrix; its run axes broadcast to `batch_shape`. Its rank must not exceed the
        smallest width. By default one per run with independent N(0, 1/in) entries, cut to its
        leading ``min(widths)`` singular values.
    scale : array_like, default 1
        Factor >= 0 on the end-to-end matrix; broadcasts to `batch_shape`.
    rng : seed or Generator, optional
        See the module's notes on random streams.
    batch_shape : int or tuple of int, default ()
        Run axes of the result.
    streams : array_like of int, optional
        Number >= 0 of the random stream of each run; broadcasts to `batch_shape`. By default runs
        are numbered in C order.
    dtype : dtype, default float64
        float64 or float32.

    Returns
    -------
    tuple of ndarray, shapes (*batch_shape, widths[l + 1], widths[l])
        Weights whose product is ``scale * product``, up to rounding.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If a number is out of range, run axes do not broadcast, or the rank of `product` is too
        large.

    Notes
    -----
    Singular values of `product` below eps * max(out, in) times the largest are rounding noise and
    count as zero; their L-th roots would not be small.

    References
    ----------
    S. Arora, N. Cohen, N. Golowich, W. Hu, "A convergence analysis of gradient descent for deep
    linear neural networks", ICLR 2019, Procedure 1 (balanced initialisation).

    Examples
    --------
    >>> import numpy as np
    >>> w1, w2 = balanced(Dense((2, 3, 2)), product=np.diag([4.0, 1.0]), rng=0)
    >>> np.allclose(w2 @ w1, np.diag([4.0, 1.0])), np.allclose(w2.T @ w2, w1 @ w1.T)
    (True, True)
    """
    checked_network(network, Dense)
    runs, factor, kind = _options(scale, batch_shape, dtype)
    rank = network.max_rank
    ends = (network.n_outputs, network.n_inputs)
    hidden = [(width, rank) for width in network.widths[1:-1]]
    if product is None:
        draw = Draw(rng, runs, streams, [*hidden, ends])
        *blocks, drawn = draw.blocks
        target = drawn / math.sqrt(network.n_inputs)
    else:
        draw = Draw(rng, runs, streams, hidden)
        blocks = draw.blocks
        matrix = validate.real_array("product", product)
        if matrix.shape[-2:] != ends:
            msg = f"product must have shape (*run, {ends[0]}, {ends[1]}), got {matrix.shape}"
            raise ValueError(msg)
        validate.fits_batch("product", matrix.shape[:-2], runs)
        target = validate.unbroadcast(matrix, keep=2)
    u, s, vt = algebra.svd(target)
    s = np.where(s > np.finfo(np.float64).eps * max(ends) * s[..., :1], s, 0.0)
    ranks = np.count_nonzero(s, axis=-1)
    if product is not None and ranks.max() > rank:
        msg = f"product must have rank <= {rank}, the smallest width, got rank {ranks.max()}"
        raise ValueError(msg)
    if product is None:
        u, s, vt = draw.of_runs(u), draw.of_runs(s), draw.of_runs(vt)
    strengths = factor[..., None] * s[..., :rank]
    factors = algebra.roots(strengths, network.n_layers)
    bases = [draw.of_runs(algebra.orthonormal_columns(block)) for block in blocks]
    return _factored(u[..., :rank], factors, vt[..., :rank, :].mT, bases, runs, kind)


def aligned(
    network: Dense,
    loss: SquaredLoss,
    strengths: npt.ArrayLike,
    *,
    scale_of: Literal["product", "factor"] = "product",
    rng: Seed = None,
    batch_shape: int | Sequence[int] = (),
    streams: npt.ArrayLike | None = None,
    dtype: npt.DTypeLike = np.float64,
) -> tuple[WeightArray, ...]:
    """Return balanced weights along the singular vectors of ``loss.cross_cov``.

    From here, and with whitened inputs, gradient descent moves each mode by itself.

    Parameters
    ----------
    network : Dense
        Gives the shapes.
    loss : SquaredLoss
        Its `cross_cov` gives the singular vectors; its run axes broadcast to `batch_shape`.
    strengths : array_like, shape (*run, k) or ()
        Strength >= 0 of each of the k leading modes, k <= min(widths); a single number is put on
        ``min(widths)`` modes. Run axes broadcast to `batch_shape`.
    scale_of : {"product", "factor"}
        Whether `strengths` are the singular values of the end-to-end matrix or of each layer; of
        each layer makes those of the end-to-end matrix ``strengths**n_layers``.
    rng : seed or Generator, optional
        For the hidden bases, which are random with orthonormal columns. See the module's notes on
        random streams.
    batch_shape : int or tuple of int, default ()
        Run axes of the result.
    streams : array_like of int, optional
        Number >= 0 of the random stream of each run; broadcasts to `batch_shape`. By default runs
        are numbered in C order.
    dtype : dtype, default float64
        float64 or float32.

    Returns
    -------
    tuple of ndarray, shapes (*batch_shape, widths[l + 1], widths[l])

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If a number is out of range, shapes do not match, or run axes do not broadcast.

    References
    ----------
    A. M. Saxe, J. L. McClelland, S. Ganguli, "Exact solutions to the nonlinear dynamics of learning
    in deep linear neural networks", ICLR 2014: decoupled modes.

    Examples
    --------
    >>> import numpy as np
    >>> loss = SquaredLoss(np.eye(2), np.diag([3.0, 1.0]), 10.0)
    >>> w1, w2 = aligned(Dense((2, 5, 2)), loss, [0.5, 0.25], rng=0)
    >>> np.allclose(w2 @ w1, np.diag([0.5, 0.25]))
    True
    """
    checked_network(network, Dense)
    validate.instance("loss", loss, SquaredLoss)
    validate.choice("scale_of", scale_of, ("product", "factor"))
    if (loss.n_outputs, loss.n_inputs) != (network.n_outputs, network.n_inputs):
        got = f"{loss.n_inputs} inputs and {loss.n_outputs} outputs"
        msg = f"loss must match the network's widths {network.widths}, got {got}"
        raise ValueError(msg)
    runs, _, kind = _options(1.0, batch_shape, dtype)
    values = validate.real_array("strengths", strengths, at_least=0)
    n_modes = values.shape[-1] if values.ndim else network.max_rank
    if n_modes > network.max_rank:
        msg = f"strengths must have at most {network.max_rank} modes, min(widths), got {n_modes}"
        raise ValueError(msg)
    validate.fits_batch("strengths", values.shape[:-1], runs)
    validate.fits_batch("loss", loss.cross_cov.shape[:-2], runs)
    if scale_of == "product":
        values = algebra.roots(values, network.n_layers)
    factors = np.broadcast_to(values, (*values.shape[:-1], n_modes))
    hidden = [(width, n_modes) for width in network.widths[1:-1]]
    draw = Draw(rng, runs, streams, hidden)
    bases = [draw.of_runs(algebra.orthonormal_columns(block)) for block in draw.blocks]
    u, _, vt = algebra.svd(validate.unbroadcast(loss.cross_cov, keep=2))
    return _factored(u[..., :n_modes], factors, vt[..., :n_modes, :].mT, bases, runs, kind)


def _wide_gaussian(
    network: Dense,
    widths: FloatArray,
    exponent: FloatArray,
    *,
    fan_in: bool,
    numbers: Callable[[int], FloatArray],
) -> tuple[FloatArray, ...]:
    """Return two layers (*run, ...) of normal entries, whose hidden width is a number."""
    n_inputs, n_units, n_outputs = network.widths
    # Columns have lengths that go as the root of the width.
    powers = (0.5 - exponent, (0.0 if fan_in else 0.5) - exponent)
    if any((np.isinf(widths) & (power > 0)).any() for power in powers):
        msg = "width must be finite where weights grow with it, got inf; with width_exponent 0.5 they do not"
        raise ValueError(msg)
    normals = numbers(nominal.n_normals(n_inputs + n_outputs))
    pair = nominal.pair(normals, widths, n_inputs, n_outputs, n_units)
    first, second = (
        layer * _power(widths, power)[..., None, None]
        for layer, power in zip(pair, powers, strict=True)
    )
    return first / math.sqrt(n_inputs if fan_in else 1), second


def _wide_orthogonal(
    network: Dense, widths: FloatArray, *, numbers: Callable[[int], FloatArray]
) -> tuple[FloatArray, ...]:
    """Return layers (*run, ...) with orthonormal columns or rows, whose hidden width is a number."""
    n_inputs, *hidden, n_outputs = network.widths
    normals = numbers(n_inputs * n_outputs + nominal.n_normals(n_outputs))
    first, last = nominal.frames(normals, widths, n_inputs, n_outputs, max(hidden))
    inner = []
    for before, after in pairwise(hidden):
        # Hidden spaces are turned so that layers between are the identity.
        is_there = np.arange(min(before, after)) < widths[..., None]
        layer = np.zeros((*widths.shape, after, before))
        layer[..., np.arange(min(before, after)), np.arange(min(before, after))] = is_there
        inner.append(layer)
    return first[..., : hidden[0], :], *inner, last[..., : hidden[-1]]


def _checked_width(
    network: Dense, width: npt.ArrayLike, runs: Shape, *, at_least: int
) -> FloatArray:
    """Return hidden widths (*run) that the hidden layers of a network can stand for."""
    widths = nominal.checked_widths(width, at_least=at_least)
    validate.fits_batch("width", widths.shape, runs)
    n_ends = network.n_inputs + network.n_outputs
    needed = min(widths.max(), n_ends)
    if network.n_layers < 2 or min(network.widths[1:-1]) < needed:
        msg = f"network must have hidden layers of at least {needed:g} units for a width of "
        msg += (
            f"{widths.max():g}, of inputs + outputs, {n_ends}, for any, got widths {network.widths}"
        )
        raise ValueError(msg)
    return np.broadcast_to(widths, runs)


def _power(base: npt.ArrayLike, exponent: FloatArray) -> FloatArray:
    """Return base^exponent of bases >= 1, or infinite for exponents <= 0, the same on every machine."""
    safe = np.minimum(base, np.finfo(np.float64).max)
    found = elementary.exp(exponent * elementary.log(safe))
    return np.where(exponent == 0, 1.0, np.where(np.isinf(base), 0.0, found))


def _normals(rng: Seed, runs: Shape, streams: npt.ArrayLike | None, n: int) -> FloatArray:
    """Return n normal numbers of each run, (*run, n)."""
    draw = Draw(rng, runs, streams, [(n,)])
    return draw.of_runs(draw.blocks[0])


def _options(
    scale: npt.ArrayLike, batch_shape: int | Sequence[int], dtype: npt.DTypeLike
) -> tuple[Shape, FloatArray, np.dtype[Any]]:
    """Return the run axes, the scale (checked against them) and the dtype."""
    one = not isinstance(batch_shape, Iterable)
    runs = validate.integers(
        "batch_shape", (batch_shape,) if one else batch_shape, low=1, high=2**62, most=_MOST_AXES
    )
    factor = validate.real_array("scale", scale, at_least=0)
    validate.fits_batch("scale", factor.shape, runs)
    return runs, factor, validate.float_dtype("dtype", dtype)


def _finish(array: FloatArray, runs: Shape, dtype: np.dtype[Any], n_inner: int = 2) -> WeightArray:
    """Return `array` with all run axes, in memory of its own."""
    inner = array.shape[array.ndim - n_inner :]
    return np.array(np.broadcast_to(array, (*runs, *inner)), dtype=dtype, order="C")


def _factored(
    left: FloatArray,
    factors: FloatArray,
    right: FloatArray,
    hidden: Sequence[FloatArray],
    runs: Shape,
    dtype: np.dtype[Any],
) -> tuple[WeightArray, ...]:
    """Return W_l = O_l diag(factors) O_{l-1}^T, from O_0 = right by the hidden ones to O_L = left."""
    return tuple(
        _finish(algebra.product(after * factors[..., None, :], before.mT), runs, dtype)
        for before, after in pairwise([right, *hidden, left])
    )
