"""Initial weights mode by mode: of given products, singular values or differences between layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from linnet_fast._base import algebra, validate
from linnet_fast._base.seeds import Seed
from linnet_fast._base.streams import Draw
from linnet_fast._base.validate import FloatArray, WeightArray
from linnet_fast.initialization import options, structured
from linnet_fast.initialization.options import Options
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.networks.chain import Chain, checked_network
from linnet_fast.networks.named import Convolution, Dense, Diagonal, Grouped


def balanced(
    network: Dense | Diagonal | Convolution | Grouped,
    *,
    product: npt.ArrayLike | None = None,
    scale: npt.ArrayLike = 1.0,
    rng: Seed = None,
    batch_shape: int | Sequence[int] | None = None,
    streams: npt.ArrayLike | None = None,
    dtype: npt.DTypeLike = np.float64,
) -> tuple[WeightArray, ...]:
    """Return balanced weights, W_{l+1}^T W_{l+1} = W_l W_l^T, of a given or random product.

    The end-to-end matrix U S V^T is split evenly, W_l = O_l S^(1/L) O_{l-1}^T with O_L = U and O_0
    = V; the hidden bases O_l are random with orthonormal columns, one draw per run. Gradient flow
    keeps what is balanced so. Of a `Diagonal` network each weight of the predictor is split evenly, and
    the top has its sign; of a `Convolution` each frequency, and the top has its phase; of a `Grouped` one
    layers are equal entry by entry below and, above, equal to the norms of the groups.

    Parameters
    ----------
    network : Dense, Diagonal, Convolution or Grouped
        Gives the shapes. Convolutions have one channel and circular kernels as long as the input.
    product : array_like, shape (*run, out, in), optional
        End-to-end matrix; its run axes broadcast to `batch_shape`. Its rank must not exceed the
        smallest width. By default one per run with independent N(0, 1/in) entries, cut to its
        leading ``min(widths)`` singular values.
    scale : array_like, default 1
        Factor >= 0 on the end-to-end matrix; broadcasts to `batch_shape`.
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
        Weights whose product is ``scale * product``, up to rounding.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If a number is out of range, run axes do not broadcast, the rank of `product` is too large, or
        modes of the network do not train by themselves: with skips, channels or shorter kernels.

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
    structured.check_balanced(network)
    given = options.checked(scale, batch_shape, dtype)
    if not isinstance(network, Dense):
        target = _target(network, product, given)
        if target is None:
            draw = Draw(rng, given.runs, streams, [(1, network.n_inputs)])
            target = draw.of_runs(draw.blocks[0]) / math.sqrt(network.n_inputs)
        if isinstance(network, Diagonal):
            return structured.of_entries(network, target, given)
        if isinstance(network, Grouped):
            return structured.of_groups(network, target, given)
        return structured.of_frequencies(network, target, given)
    rank = network.max_rank
    hidden = [(width, rank) for width in network.widths[1:-1]]
    u, s, vt, blocks, draw = _modes(network, product, given, rng, streams, hidden)
    strengths = given.scale[..., None] * s
    factors = algebra.roots(strengths, network.n_layers)
    bases = [draw.of_runs(algebra.orthonormal_columns(block)) for block in blocks]
    return _factored(u, factors, vt.mT, bases, given)


def lambda_balanced(
    network: Dense,
    imbalance: npt.ArrayLike,
    *,
    product: npt.ArrayLike | None = None,
    scale: npt.ArrayLike = 1.0,
    rng: Seed = None,
    batch_shape: int | Sequence[int] | None = None,
    streams: npt.ArrayLike | None = None,
    dtype: npt.DTypeLike = np.float64,
) -> tuple[WeightArray, ...]:
    """Return two layers with W_2^T W_2 - W_1 W_1^T = lambda I and a given or random product.

    Gradient flow conserves lambda. Large ones are lazy, zero is rich from small starts; the sign says
    which layer is the larger.

    Parameters
    ----------
    network : Dense
        Of two layers.
    imbalance : array_like
        lambda, broadcasts to `batch_shape`. Positive ones need a hidden layer no wider than the outputs,
        negative ones no wider than the inputs; 0 is `balanced`.
    product : array_like, shape (*run, out, in), optional
        End-to-end matrix; its run axes broadcast to `batch_shape`. Its rank must not exceed the hidden
        width. By default one per run with independent N(0, 1/in) entries, cut to its leading singular
        values.
    scale : array_like, default 1
        Factor >= 0 on the end-to-end matrix; broadcasts to `batch_shape`.
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
    tuple of ndarray, shapes (*batch_shape, hidden, in), (*batch_shape, out, hidden)

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If a number is out of range, the hidden layer is too wide, run axes do not broadcast, or the
        rank of `product` is too large.

    References
    ----------
    L. Braun, C. C. J. Domine, J. E. Fitzgerald, A. M. Saxe, "Exact learning dynamics of deep linear
    networks with prior knowledge", NeurIPS 2022; C. C. J. Domine and others, "From lazy to rich: exact
    learning dynamics in deep linear networks", 2024.

    Examples
    --------
    >>> import numpy as np
    >>> w1, w2 = lambda_balanced(Dense((3, 2, 2)), 0.5, product=[[2.0, 0, 0], [0, 1.0, 0]], rng=0)
    >>> np.allclose(w2.T @ w2 - w1 @ w1.T, 0.5 * np.eye(2))
    True
    >>> (w2 @ w1).round(12).tolist() == [[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    True
    """
    checked_network(network, Dense)
    if network.n_layers != 2:
        msg = f"network must have two layers, got {network.n_layers}"
        raise ValueError(msg)
    given = options.checked(scale, batch_shape, dtype)
    lam = validate.real_array("imbalance", imbalance)
    validate.fits_batch("imbalance", lam.shape, given.runs)
    n_inputs, width, n_outputs = network.widths
    for sign, ends, name in ((1, n_outputs, "outputs"), (-1, n_inputs, "inputs")):
        bad = (sign * lam > 0) & (width > ends)
        expected = f"{'<=' if sign > 0 else '>='} 0 for a hidden layer wider than the {name}"
        validate.refuse("imbalance", f"{expected}, {width} and {ends}", lam, bad)
    u, s, vt, (block,), draw = _modes(network, product, given, rng, streams, [(width, width)])
    turn = draw.of_runs(algebra.orthonormal_columns(block))
    strengths = given.scale[..., None] * s
    strengths = np.concatenate(
        [strengths, np.zeros((*strengths.shape[:-1], width - strengths.shape[-1]))], axis=-1
    )
    # Of w_2^2 - w_1^2 = lambda and w_1 w_2 = s the larger one first: no difference is taken.
    apart = np.abs(lam)[..., None]
    larger = np.sqrt((apart + np.hypot(apart, 2 * strengths)) / 2)
    smaller = strengths / np.where(larger > 0, larger, 1.0)
    is_upper = lam[..., None] >= 0
    upper, lower = np.where(is_upper, larger, smaller), np.where(is_upper, smaller, larger)
    left, right = _completed(u, width), _completed(vt.mT, width)
    first = algebra.product(turn * lower[..., None, :], right.mT)
    return given.whole(first), given.whole(algebra.product(left * upper[..., None, :], turn.mT))


def spectral(
    network: Dense,
    singular_values: npt.ArrayLike,
    *,
    scale: npt.ArrayLike = 1.0,
    layer_scales: npt.ArrayLike | None = None,
    rng: Seed = None,
    batch_shape: int | Sequence[int] | None = None,
    streams: npt.ArrayLike | None = None,
    dtype: npt.DTypeLike = np.float64,
) -> tuple[WeightArray, ...]:
    """Return layers that all have given singular values, and random singular vectors.

    Parameters
    ----------
    network : Dense
        Gives the shapes.
    singular_values : array_like, shape (*run, k)
        >= 0, at most ``min(widths)`` of them; run axes broadcast to `batch_shape`. Others are 0.
    scale : array_like, default 1
        Factor >= 0 on all layers; broadcasts to `batch_shape`.
    layer_scales : array_like, shape (*run, n_arrays), optional
        Factors on each array of weights, of any sign; 0 for those that start from zero.
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
    tuple of ndarray, shapes (*batch_shape, widths[l + 1], widths[l])

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If a number is out of range, or run axes do not broadcast.

    Examples
    --------
    >>> import numpy as np
    >>> w1, w2 = spectral(Dense((3, 4, 2)), [2.0, 0.5], rng=0)
    >>> np.linalg.svd(w1)[1].round(12).tolist(), np.linalg.svd(w2)[1].round(12).tolist()
    ([2.0, 0.5, 0.0], [2.0, 0.5])
    """
    checked_network(network, Dense)
    given = options.checked(scale, batch_shape, dtype, network=network, layer_scales=layer_scales)
    values = validate.real_array("singular_values", singular_values, at_least=0)
    if values.ndim == 0 or values.shape[-1] > network.max_rank:
        msg = f"singular_values must have shape (*run, k), k at most {network.max_rank}, "
        msg += f"got {values.shape}"
        raise ValueError(msg)
    validate.fits_batch("singular_values", values.shape[:-1], given.runs)
    n_modes = values.shape[-1]
    sides = [(side, n_modes) for shape in network.shapes for side in shape]
    draw = Draw(rng, given.runs, streams, sides)
    frames = [draw.of_runs(algebra.orthonormal_columns(block)) for block in draw.blocks]
    return tuple(
        given.finish(algebra.product(left * values[..., None, :], right.mT), number)
        for number, (left, right) in enumerate(zip(frames[::2], frames[1::2], strict=True))
    )


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
    given = options.checked(1.0, batch_shape, dtype)
    runs = given.runs
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
    return _factored(u[..., :n_modes], factors, vt[..., :n_modes, :].mT, bases, given)


def _target(network: Chain, product: npt.ArrayLike | None, given: Options) -> FloatArray | None:
    """Return a checked product; None for none."""
    if product is None:
        return None
    ends = (network.n_outputs, network.n_inputs)
    matrix = validate.real_array("product", product)
    if matrix.shape[-2:] != ends:
        msg = f"product must have shape (*run, {ends[0]}, {ends[1]}), got {matrix.shape}"
        raise ValueError(msg)
    validate.fits_batch("product", matrix.shape[:-2], given.runs)
    return validate.unbroadcast(matrix, keep=2)


def _modes(
    network: Dense,
    product: npt.ArrayLike | None,
    given: Options,
    rng: Seed,
    streams: npt.ArrayLike | None,
    shapes: list[tuple[int, int]],
) -> tuple[FloatArray, FloatArray, FloatArray, list[FloatArray], Draw]:
    """Return the leading modes of a given or random product, as many as the network has, and normal blocks."""
    rank, runs = network.max_rank, given.runs
    ends = (network.n_outputs, network.n_inputs)
    target = _target(network, product, given)
    if target is None:
        draw = Draw(rng, runs, streams, [*shapes, ends])
        *blocks, drawn = draw.blocks
        target = drawn / math.sqrt(network.n_inputs)
    else:
        draw = Draw(rng, runs, streams, shapes)
        blocks = draw.blocks
    u, s, vt = algebra.svd(target)
    s = np.where(s > np.finfo(np.float64).eps * max(ends) * s[..., :1], s, 0.0)
    ranks = np.count_nonzero(s, axis=-1)
    if product is not None and ranks.max() > rank:
        msg = f"product must have rank <= {rank}, the smallest width, got rank {ranks.max()}"
        raise ValueError(msg)
    if product is None:
        u, s, vt = draw.of_runs(u), draw.of_runs(s), draw.of_runs(vt)
    return u[..., :rank], s[..., :rank], vt[..., :rank, :], blocks, draw


def _completed(columns: FloatArray, n_columns: int) -> FloatArray:
    """Return orthonormal columns with more such behind, as far as there is room; then zeros."""
    n_rows, n_there = columns.shape[-2:]
    n_more = min(n_rows, n_columns) - n_there
    padded = np.zeros((*columns.shape[:-1], n_columns))
    padded[..., :n_there] = columns
    if n_more > 0:
        # Reflections leave orthonormal columns as they are, and fill up the others.
        filled = algebra.orthonormal_columns(padded[..., : n_there + n_more])
        padded[..., n_there : n_there + n_more] = filled[..., n_there:]
    return padded


def _factored(
    left: FloatArray,
    factors: FloatArray,
    right: FloatArray,
    hidden: Sequence[FloatArray],
    given: Options,
) -> tuple[WeightArray, ...]:
    """Return W_l = O_l diag(factors) O_{l-1}^T, from O_0 = right by the hidden ones to O_L = left."""
    return tuple(
        given.whole(algebra.product(after * factors[..., None, :], before.mT))
        for before, after in pairwise([right, *hidden, left])
    )
