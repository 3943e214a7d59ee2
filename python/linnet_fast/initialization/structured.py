"""Starts of networks that are not dense: entry by entry, group by group, frequency by frequency."""

from __future__ import annotations

import numpy as np

from linnet_fast._base import algebra
from linnet_fast._base.streams import Draw
from linnet_fast._base.validate import FloatArray, WeightArray
from linnet_fast.initialization.frequencies import Frequencies, has_all_shifts, tap_in_place
from linnet_fast.initialization.options import Options
from linnet_fast.layers import Convolution as ConvolutionLayer
from linnet_fast.layers import Layer
from linnet_fast.networks.chain import Chain, checked_network
from linnet_fast.networks.named import Convolution, Dense, Diagonal, Grouped, Residual


def check_orthogonal(network: Chain) -> None:
    """Refuse a network that has no orthogonal starts. Raises TypeError or ValueError."""
    if not isinstance(network, Diagonal | Convolution | Residual | Grouped):
        checked_network(network, Dense)
    for layer in network.layers:
        if not isinstance(layer, ConvolutionLayer) or has_all_shifts(layer):
            continue
        if tap_in_place(layer) is None:
            msg = "network must have convolutions with a tap that moves nothing and stride 1, "
            msg += f"as others have no orthogonal starts, got {layer!r}"
            raise ValueError(msg)


def check_balanced(network: Chain) -> None:
    """Refuse a network that has no balanced starts. Raises TypeError or ValueError."""
    if isinstance(network, Residual):
        msg = "network must be without skips, whose identity cannot be shared out among layers, "
        msg += f"for a balanced start, got {network!r}"
        raise TypeError(msg)
    if isinstance(network, Convolution):
        has_channels = network.channels > 1 or network.in_channels > 1
        if has_channels or not all(has_all_shifts(layer) for layer in _convolutions(network)):
            msg = (
                "network must have one channel and circular kernels as long as the input, so that "
            )
            msg += f"each frequency trains by itself, for a balanced start, got {network!r}"
            raise ValueError(msg)
    elif not isinstance(network, Diagonal | Grouped):
        checked_network(network, Dense)


def signs(network: Diagonal | Grouped, draw: Draw, given: Options) -> tuple[WeightArray, ...]:
    """Return weights of one size and random signs, of a draw of the network's shapes."""
    arrays = [np.where(draw.of_runs(block) < 0, -1.0, 1.0) for block in draw.blocks]
    return tuple(
        given.finish(array, number, len(network.shapes[number]))
        for number, array in enumerate(arrays)
    )


def isometry(layer: Layer, block: FloatArray) -> FloatArray:
    """Return weights (n_streams, *shape) of an orthogonal layer, uniform at random, of normal numbers."""
    if not isinstance(layer, ConvolutionLayer):
        wide = block.shape[-1] > block.shape[-2]
        return (
            algebra.orthonormal_columns(block.mT).mT if wide else algebra.orthonormal_columns(block)
        )
    flat = block.reshape(*block.shape[:3], -1)
    if has_all_shifts(layer):
        return Frequencies.of(layer).isometries(flat).reshape(block.shape)
    # One tap alone, between channels.
    tap = tap_in_place(layer)
    between = flat[..., tap]
    turned = between.shape[-1] > between.shape[-2]
    frame = algebra.orthonormal_columns(between.mT if turned else between)
    kernel = np.zeros_like(flat)
    kernel[..., tap] = frame.mT if turned else frame
    return kernel.reshape(block.shape)


def of_entries(network: Diagonal, target: FloatArray, given: Options) -> tuple[WeightArray, ...]:
    """Return weights of a diagonal network that are equal in size, entry by entry."""
    sizes = algebra.roots(given.scale[..., None] * np.abs(target[..., 0, :]), network.n_layers)
    top = np.where(target < 0, -1.0, 1.0) * sizes[..., None, :]
    lower = given.whole(sizes, 1)
    return (*(lower.copy() for _ in range(network.n_layers - 1)), given.whole(top))


def of_groups(network: Grouped, target: FloatArray, given: Options) -> tuple[WeightArray, ...]:
    """Return weights whose layers are equal in size entry by entry, and group by group in norm."""
    n, m = network.n_diagonal, network.n_scalar
    predictor = given.scale[..., None] * target[..., 0, :]
    entries, scalars = np.empty(predictor.shape), []
    for group in map(list, network.groups):
        sizes = np.abs(predictor[..., group])
        largest = sizes.max(axis=-1)
        parts = algebra.roots(sizes / np.where(largest > 0, largest, 1.0)[..., None], n)
        # Of |w_i|^n s^m = |beta_i| and s^2 = sum of the w_i^2 of the group.
        column = parts[..., None]
        length = algebra.roots(algebra.cross_products(column, column)[..., 0, 0], 2 * (n + m))
        scalar = algebra.roots(largest, n + m) * algebra.power(length, n)
        rest = algebra.power(algebra.roots(np.where(scalar > 0, scalar, 1.0), n), m)
        entries[..., group] = algebra.roots(sizes, n) / rest[..., None]
        scalars.append(scalar)
    of_scalars = np.stack(scalars, axis=-1)
    signed = np.where(predictor < 0, -entries, entries)
    order = [i for group in network.groups for i in sorted(group)]  # rows of a mask
    return (
        *(given.whole(entries, 1) for _ in range(n - 1)),
        given.whole(signed[..., order], 1),
        *(given.whole(of_scalars, 1) for _ in range(m - 1)),
        given.whole(of_scalars[..., None, :]),
    )


def of_frequencies(
    network: Convolution, target: FloatArray, given: Options
) -> tuple[WeightArray, ...]:
    """Return weights of convolutions, and of the top, that are equal in size at each frequency."""
    layers = _convolutions(network)
    predictor = given.scale[..., None] * target[..., 0, :]
    real, imaginary = Frequencies.of(layers[0]).transformed(predictor)
    strengths = np.hypot(real, imaginary)
    sizes = algebra.roots(strengths, network.n_layers)
    turn = sizes / np.where(strengths > 0, strengths, 1.0)
    kernels = []
    for layer in layers:
        circle = Frequencies.of(layer)
        kernel = circle.of_parts(sizes, np.zeros_like(sizes))[..., circle.shift_of_tap]
        shape = layer.weight_shape
        kernels.append(given.whole(kernel.reshape(*kernel.shape[:-1], *shape), len(shape)))
    # The top has the phases.
    top = Frequencies.of(layers[0]).of_parts(turn * real, turn * imaginary)
    return (*kernels, given.whole(top[..., None, :]))


def _convolutions(network: Convolution) -> list[ConvolutionLayer]:
    return [layer for layer in network.layers if isinstance(layer, ConvolutionLayer)]
