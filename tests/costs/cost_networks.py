"""Networks whose representation costs are tested: every family that is exact, and any others."""

from __future__ import annotations

import itertools

import numpy as np

import linnet_fast as lf
from linnet_fast import layers


def s_3():
    """Return the multiplication table of the permutations of three things."""
    elements = list(itertools.permutations(range(3)))
    return [[elements.index(tuple(g[t] for t in h)) for h in elements] for g in elements]


def blocks(width, n_blocks, inner):
    """Return residual blocks of two layers each, and a dense top."""
    skip = layers.Fixed(np.eye(width))
    first = layers.Stack([skip, layers.Dense(width, inner)])
    second = layers.Sum([skip, layers.Dense(inner, width)])
    return lf.Chain([first, second] * n_blocks + [layers.Dense(width, 1)])


def residual(layer, n_blocks, scale=1.0):
    return lf.Chain([layers.Residual(layer, scale)] * n_blocks + [layers.Dense(layer.n_inputs, 1)])


def group_net(n_layers):
    return lf.Chain([layers.GroupConvolution(s_3())] * (n_layers - 1) + [layers.Dense(6, 1)])


def embedded(width, inner, n_blocks, outputs, scale=1.0):
    block = layers.Residual(layers.Dense(inner, inner), scale)
    return lf.Chain([layers.Dense(width, inner), *[block] * n_blocks, layers.Dense(inner, outputs)])


def product_of(size, count, n_layers):
    """Return convolutions without padding down to one output."""
    chain, width = [], n_layers * (size - 1) + 1
    for _ in range(count):
        chain.append(layers.Convolution(width, size, padding="valid"))
        width = chain[-1].n_outputs
    return lf.Chain(chain)


def tied(width, n_layers, signs=False):
    spread = np.vstack([np.eye(width)] * (2 if signs else 1))
    units = len(spread)
    ends = [[1.0] * width + [-1.0] * (units - width)]
    chain = [layers.Fixed(spread), *[layers.Diagonal(units)] * n_layers, layers.Fixed(ends)]
    return lf.Chain(chain, share=[None, *[0] * n_layers, None])


PATCHES_3 = lf.Chain(
    [
        layers.Convolution(6, 2, stride=2, out_channels=2),
        layers.Convolution(3, 1, in_channels=2, out_channels=3),
        layers.Dense(9, 1),
    ]
)
START = np.array([[1.0], [0.5], [-0.3]])
FIXED_START = lf.Chain([layers.Fixed(START), *[layers.Residual(layers.Dense(3, 3), 0.7)] * 2])
FIXED_TOP = lf.Chain([*[layers.Residual(layers.Dense(3, 3))] * 3, layers.Fixed(START.T)])
STACK = lf.Chain([*[layers.Residual(layers.Dense(2, 2))] * 2])
DICTIONARY = np.array([[1.0, 0.5, 0.0], [0.0, 1.0, -1.0], [1.0, 1.0, 0.3], [0.2, 0.0, 1.0]])

# Every family with a closed form or a convex problem, small enough for brute force.
EXACT = {
    "dense, one output": lf.Dense((4, 2, 1, 1)),
    "dense, matrices": lf.Dense((3, 2, 2)),
    "dense, deep matrices": lf.Dense((2, 3, 2, 3)),
    "diagonal": lf.Diagonal(4, 2),
    "diagonal, deep": lf.Diagonal(3, 4),
    "shared, odd": tied(3, 3),
    "shared, both signs": tied(3, 2, signs=True),
    "shared, deep, both signs": tied(2, 4, signs=True),
    "one layer among fixed ones": lf.Chain(
        [layers.Fixed(DICTIONARY.T[:, :3]), layers.Convolution(3, 2), layers.Fixed([[1.0, 2, 3]])]
    ),
    "one residual block": lf.Chain([layers.Residual(layers.Dense(2, 2), 0.5)]),
    "groups": lf.Grouped([(0, 1), (2, 3, 4)]),
    "groups, mixed (1, 2)": lf.Grouped([(0, 2), (1, 3)], 1, 2),
    "groups, mixed (2, 1)": lf.Grouped([(0, 2), (1, 3)], 2, 1),
    "groups, mixed (2, 2)": lf.Grouped([(0, 1), (2,)], 2, 2),
    "masked units": lf.Chain(
        [layers.Masked.of_groups([(0, 1), (1, 2), (0, 2, 3)], 4), layers.Dense(3, 1)]
    ),
    "full width": lf.Convolution(5, 5, 2),
    "full width, deep": lf.Convolution(4, 4, 3),
    "full width, even": lf.Convolution(6, 6, 3),
    "full width, images": lf.Convolution((2, 3), (2, 3), 2),
    "full width, input channels": lf.Convolution(3, 3, 3, in_channels=2),
    "full width, channels": lf.Convolution(4, 4, 2, channels=2),
    "full width, dilated": lf.Convolution(5, 5, 2, dilation=2),
    "kernel 2, deep": lf.Convolution(6, 2, 3),
    "kernel 3": lf.Convolution(7, 3, 2),
    "kernel 3, deeper": lf.Convolution(6, 3, 4),
    "kernel 2, channels": lf.Convolution(5, 2, 3, channels=2),
    "kernel dilations": lf.Convolution(8, 2, 4, dilation=(1, 2, 4)),
    "kernels of two sizes": lf.Chain(
        [layers.Convolution(6, 2), layers.Convolution(6, 3), layers.Dense(6, 1)]
    ),
    "one tap": lf.Convolution((2, 2), 1, 3),
    "one tap elsewhere": lf.Convolution(5, taps=(2,), n_layers=3),
    "taps of a subgroup": lf.Convolution(6, taps=(0, 3), n_layers=3),
    "taps of a subgroup, dilated": lf.Convolution(6, 3, 2, dilation=2),
    "group": group_net(2),
    "group, deep": group_net(3),
    "patches": lf.Convolution(6, 2, 2, stride=2, channels=3, padding="valid"),
    "patches, few channels": lf.Convolution(4, 2, 2, stride=2, channels=2),
    "patches, deep": PATCHES_3,
    "dictionary of a basis": lf.Chain(
        [layers.Fixed(DICTIONARY[:3]), layers.Diagonal(3), layers.Dense(3, 1)]
    ),
    "dictionary": lf.Chain([layers.Fixed(DICTIONARY), layers.Diagonal(4), layers.Dense(4, 1)]),
    "dictionary, deep": lf.Chain(
        [layers.Fixed(DICTIONARY), *[layers.Diagonal(4)] * 2, layers.Dense(4, 1)]
    ),
    "skip beside a product": lf.parallel([lf.Dense((3, 1)), lf.Diagonal(3, 2)]),
    "products of two taps": product_of(2, 3, 3),
    "products of three taps": product_of(3, 2, 2),
    "residual": lf.Residual(3, 2),
    "residual, scaled": lf.Residual(3, 2, scale=0.6),
    "residual, matrices": lf.Residual(2, 1, n_outputs=2),
    "residual, embedded": embedded(3, 2, 2, 1),
    "residual, embedded matrices": embedded(2, 2, 1, 2, scale=0.7),
    "residual, diagonal": residual(layers.Diagonal(3), 2),
    "residual, full width": residual(layers.Convolution(4, 4), 2),
    "residual, one tap": residual(layers.Convolution(4, 1), 3),
    "residual, two-layer blocks": blocks(3, 2, 1),
    "residual, a fixed start": FIXED_START,
    "residual, a fixed top": FIXED_TOP,
    "residual, nothing else": STACK,
}


def predictors(network, n, seed=0):
    """Return predictors that are within reach and within what is known to be exact."""
    rng = np.random.default_rng(seed)
    shape = (n, network.n_outputs, network.n_inputs)
    p = rng.standard_normal(shape)
    if network is STACK:
        roots = np.eye(2) + 0.5 * p
        p = roots @ roots.swapaxes(1, 2) + np.eye(2)
    elif network in (FIXED_START, FIXED_TOP):
        p = (START.ravel() + 0.5 * rng.standard_normal((n, 3))).reshape(shape)
    elif network == EXACT["one layer among fixed ones"] or network == product_of(2, 3, 3):
        # Reached by some weights, as not every predictor is.
        sizes = [(n, *shape) for shape in network.shapes]
        p = network.product([rng.standard_normal(size) for size in sizes])
    elif network == EXACT["dense, one output"]:
        p[0] *= 1e-3
    return p[:, 0] if network.n_outputs == 1 else p


def squared_norm(weights, n_batch):
    return sum(np.sum(w**2, axis=tuple(range(n_batch, w.ndim))) for w in weights)


def random_network(rng):
    """Return a small network of any kind, most of them without a closed form."""
    size = int(rng.integers(2, 5))
    taps = int(rng.integers(1, size + 1))
    depth = int(rng.integers(2, 4))
    padding = str(rng.choice(["circular", "zero", "valid"]))
    mask = rng.random((2, size)) < 0.7
    mask[:, int(rng.integers(size))] = True
    second = np.array([[True, rng.random() < 0.5], [rng.random() < 0.5, True]])
    channels = int(rng.integers(1, 4))
    group = layers.Masked(mask)
    makes = [
        lambda: lf.Dense((size, int(rng.integers(1, 4)), int(rng.integers(1, 3)))),
        lambda: lf.Diagonal(size, depth),
        lambda: lf.Convolution(size, taps, depth),
        lambda: lf.Convolution(size, taps, 2, padding=padding, channels=channels),
        lambda: lf.Convolution(size, min(taps, 2), depth, padding="zero"),
        lambda: lf.Convolution(size + 1, taps, 2, stride=2, channels=channels),
        lambda: lf.Convolution((2, 2), 2, 2, channels=channels, padding="zero"),
        lambda: lf.Convolution(size + 2, taps=(0, 1, 3), n_layers=depth),
        lambda: lf.Convolution(3, 2, 2, in_channels=2, channels=channels),
        lambda: lf.Chain([group, layers.Dense(2, 1)]),
        lambda: lf.Chain([group, layers.Masked(second), layers.Dense(2, 1)]),
        lambda: lf.parallel([lf.Diagonal(size, 2), lf.Dense((size, 1, 1))]),
        lambda: lf.parallel([lf.Diagonal(size, depth), lf.Dense((size, 1))]),
        lambda: lf.Residual(size, depth - 1, scale=float(rng.uniform(0.3, 1.5))),
        lambda: residual(layers.Convolution(size, taps), depth - 1),
        lambda: residual(layers.Masked(np.tril(np.ones((size, size), bool))), depth - 1),
        lambda: embedded(size, 2, 1, 1),
        lambda: lf.Chain(
            [layers.Dense(size, 2), layers.Dense(2, 2), layers.Dense(2, 1)], [0, 1, 2]
        ),
        lambda: lf.Chain([layers.Diagonal(size)] * 2 + [layers.Dense(size, 1)], [0, 0, 1]),
        lambda: lf.Chain([layers.Residual(layers.Dense(2, 2))] * depth),
    ]
    return makes[int(rng.integers(len(makes)))]()
