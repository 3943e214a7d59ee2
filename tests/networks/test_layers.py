"""Layers and chains: patterns against definitions, texts, and every refused argument."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.signal import correlate2d
from support import CHAINS

import linnet_fast as lf
from linnet_fast import layers
from linnet_fast.networks import text

RNG = np.random.default_rng(0)
CYCLIC = [[(i + j) % 4 for j in range(4)] for i in range(4)]


def matrix(layer, weights):
    return layer.pattern.matrix(np.asarray(weights, float).reshape(-1))


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", ["circular", "zero", "valid"])
def test_convolution_by_its_definition(padding, stride, dilation):
    layer = layers.Convolution(
        9, 3, in_channels=2, out_channels=3, stride=stride, dilation=dilation, padding=padding
    )
    w, x = RNG.standard_normal(layer.weight_shape), RNG.standard_normal((2, 9))
    n_out = layer.out_extents[0]
    shift = dilation * 2 // 2 if padding == "zero" else 0
    expected = np.zeros((3, n_out))
    for o, i, c, t in np.ndindex(3, n_out, 2, 3):
        j = stride * i + dilation * t - shift
        if padding == "circular":
            expected[o, i] += w[o, c, t] * x[c, j % 9]
        elif 0 <= j < 9:
            expected[o, i] += w[o, c, t] * x[c, j]
    assert_allclose(matrix(layer, w) @ x.ravel(), expected.ravel(), atol=1e-14)
    if padding == "valid":
        assert n_out == (9 - 1 - 2 * dilation) // stride + 1


def test_convolution_of_images():
    layer = layers.Convolution((5, 4), (3, 2), padding="valid")
    w, x = RNG.standard_normal((3, 2)), RNG.standard_normal((5, 4))
    expected = correlate2d(x, w, mode="valid")
    assert_allclose((matrix(layer, w) @ x.ravel()).reshape(3, 3), expected, atol=1e-14)
    around = layers.Convolution((5, 4), (3, 2))
    wrapped = correlate2d(np.pad(x, ((0, 2), (0, 1)), mode="wrap"), w, mode="valid")
    assert_allclose((matrix(around, w) @ x.ravel()).reshape(5, 4), wrapped, atol=1e-14)


def test_taps_are_offsets():
    layer = layers.Convolution(7, taps=(0, 1, 3))
    row = matrix(layer, [1.0, 2.0, 3.0])[5]
    assert_array_equal(row, [0, 3, 0, 0, 0, 1, 2])  # 5, 6 and 8 mod 7


def test_a_wide_kernel_goes_round():
    layer = layers.Convolution(2, 3)
    assert_array_equal(matrix(layer, [1.0, 10.0, 100.0]), [[101, 10], [10, 101]])


def test_group_convolution_of_a_cycle_is_circular():
    circular = layers.Convolution(4, 4)
    group = layers.GroupConvolution(CYCLIC)
    w = RNG.standard_normal(4)
    assert_array_equal(matrix(group, w), matrix(circular, w))


def test_blocks_side_by_side():
    a, b = layers.Dense(2, 3), layers.Diagonal(2)
    wa, wb = RNG.standard_normal((3, 2)), RNG.standard_normal(2)
    w = np.concatenate([wa.ravel(), wb])
    assert_array_equal(matrix(layers.Stack([a, b]), w), np.vstack([wa, np.diag(wb)]))
    both = matrix(layers.BlockDiagonal([a, b]), w)
    assert_array_equal(both[:3, :2], wa)
    assert_array_equal(both[3:, 2:], np.diag(wb))
    assert not both[:3, 2:].any()
    assert not both[3:, :2].any()
    side = layers.Sum([layers.Dense(3, 2), b])
    assert_array_equal(matrix(side, w), np.hstack([wa.reshape(2, 3), np.diag(wb)]))


def test_residual_and_fixed():
    layer = layers.Residual(layers.Fixed(np.full((2, 2), 2.0)), scale=0.5)
    assert_array_equal(layer.pattern.matrix(np.zeros(0)), [[2, 1], [1, 2]])
    assert layer.weight_shape is None


def test_masked_of_groups_with_overlap():
    layer = layers.Masked.of_groups([(0, 1), (1, 2)], 3)
    assert_array_equal(matrix(layer, [1, 2, 3, 4]), [[1, 2, 0], [0, 3, 4]])


@pytest.mark.parametrize("network", CHAINS, ids=repr)
class TestEveryChain:
    def test_its_text_describes_it(self, network):
        again = text.parse(network.spec)
        assert again == network
        assert hash(again) == hash(network)
        assert again.spec == network.spec
        assert len(repr(network)) <= 300

    def test_pull_back_is_the_transpose_of_matrix(self, network):
        for layer in network.layers:
            w = RNG.standard_normal(layer.n_weights)
            moved = RNG.standard_normal(layer.n_weights)
            g = RNG.standard_normal((layer.n_outputs, layer.n_inputs))
            change = layer.pattern.matrix(w + moved) - layer.pattern.matrix(w)
            assert np.vdot(change, g) == pytest.approx(
                np.vdot(moved, layer.pattern.pull_back(g)), rel=1e-10, abs=1e-12
            )

    def test_sizes(self, network):
        weights = lf.initialization.gaussian(network, rng=0, batch_shape=(2, 3))
        assert [w.shape for w in weights] == [(2, 3, *shape) for shape in network.shapes]
        assert network.n_weights == sum(w[0, 0].size for w in weights)
        product = network.product(weights)
        assert product.shape == (2, 3, network.n_outputs, network.n_inputs)
        for part, before, after in zip(
            network.matrices(weights), network.widths[:-1], network.widths[1:], strict=True
        ):
            assert part.shape[-2:] == (after, before)


def test_named_networks_are_chains():
    assert lf.Diagonal(3, 2) == lf.Chain([layers.Diagonal(3), layers.Dense(3, 1)])
    assert lf.Dense((2, 3)) == lf.Chain([layers.Dense(2, 3)])
    assert lf.Chain([lf.Diagonal(3, 1), layers.Dense(1, 2)]).widths == (3, 1, 2)
    assert lf.Diagonal(3, 2) != lf.Diagonal(3, 3)
    assert lf.Convolution((4, 4), 2, 2).kernel_size == (2, 2)
    assert lf.Convolution(8, 2, 4, dilation=(1, 2, 4)).dilation == (1, 2, 4)


def test_parallel_adds_networks():
    parts = [lf.Diagonal(3, 2), lf.Convolution(3, 2, 3), lf.Dense((3, 1))]
    network = lf.parallel(parts)
    weights = [[RNG.standard_normal(s) for s in part.shapes] for part in parts]
    flat = [np.concatenate([w.ravel() for w in ws[::-1]]) for ws in weights]
    together = []
    for layer in range(3):
        own = [ws[layer - 3] for ws in weights if len(ws) >= 3 - layer]
        together.append(np.concatenate([w.ravel() for w in own]))
    expected = sum(part.product(ws) for part, ws in zip(parts, weights, strict=True))
    assert_allclose(network.product(together), expected, atol=1e-14)
    assert sum(map(len, flat)) == network.n_weights


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: layers.Dense(0, 2), ValueError, "n_inputs must be >= 1, got 0"),
        (lambda: layers.Diagonal(2.5), TypeError, "width must be an integer, got float 2.5"),
        (lambda: layers.Convolution(4), TypeError, "exactly one of kernel_size and taps"),
        (lambda: layers.Convolution(4, 2, taps=(0, 1)), TypeError, "exactly one of kernel_size"),
        (lambda: layers.Convolution((4, 4), taps=(0, 1)), ValueError, "for a line only"),
        (lambda: layers.Convolution(4, taps=(1, 1)), ValueError, "different offsets"),
        (lambda: layers.Convolution(4, (2, 2)), ValueError, "must have 1 entries"),
        (lambda: layers.Convolution(4, 5, padding="valid"), ValueError, "must fit into width"),
        (
            lambda: layers.Convolution(4, 2, padding="cirular"),
            ValueError,
            "did you mean 'circular'",
        ),
        (lambda: layers.Convolution(4, 2, stride=0), ValueError, "stride must be >= 1"),
        (lambda: layers.GroupConvolution([[0, 1], [0, 1]]), ValueError, "not a Latin square"),
        (lambda: layers.GroupConvolution([[0, 1]]), ValueError, "table"),
        (lambda: layers.Custom([[0, 2]]), ValueError, "without gaps"),
        (lambda: layers.Custom([0, 1]), ValueError, "shape"),
        (lambda: layers.Masked([[0, 1]]), TypeError, "mask must be an array of bools"),
        (
            lambda: layers.Masked.of_groups([(0, 5)], 3),
            ValueError,
            r"groups\[0\]\[1\] must be <= 2",
        ),
        (lambda: layers.Fixed([1.0]), ValueError, "n_outputs, n_inputs"),
        (lambda: layers.Residual(layers.Dense(2, 3)), ValueError, "as many outputs as inputs"),
        (lambda: layers.Residual(layers.Diagonal(2), 0.0), ValueError, "must not be 0"),
        (lambda: layers.Stack([layers.Dense(2, 3), layers.Dense(3, 3)]), ValueError, "inputs"),
        (lambda: layers.Sum([layers.Dense(2, 3), layers.Dense(2, 2)]), ValueError, "outputs"),
        (lambda: layers.Stack(layers.Diagonal(2)), TypeError, "sequence of at least one layer"),
        (lambda: lf.Chain([]), TypeError, "at least one layer"),
        (lambda: lf.Chain([3]), TypeError, r"layers\[0\] must be a Layer, got int"),
        (lambda: lf.Chain([layers.Fixed([[1.0]])]), ValueError, "only fixed ones"),
        (
            lambda: lf.Chain([layers.Diagonal(2), layers.Dense(3, 1)]),
            ValueError,
            r"layers\[1\] must have as many inputs as layers\[0\] outputs, got 3 after 2",
        ),
        (
            lambda: lf.Chain([layers.Diagonal(2), layers.Dense(2, 1)], share=[0, 0]),
            ValueError,
            "weights of the same shape",
        ),
        (lambda: lf.Chain([layers.Diagonal(2)], share=[0, 0]), ValueError, "must have 1 entries"),
        (lambda: lf.Chain([layers.Diagonal(2)], share=[None]), ValueError, "must be a number"),
        (lambda: lf.Chain([layers.Diagonal(2)], share=[1]), ValueError, r"share\[0\] must be <= 0"),
        (lambda: lf.Convolution(4, 2, 1), ValueError, "n_layers must be >= 2"),
        (lambda: lf.Convolution(4, 2, 3, dilation=(1,)), ValueError, "must have 2 entries"),
        (lambda: lf.Grouped([(0, 1), (1,)]), ValueError, "must be disjoint"),
        (lambda: lf.parallel([]), TypeError, "at least one network"),
        (lambda: lf.parallel([lf.Diagonal(2), lf.Diagonal(3)]), ValueError, "inputs"),
        (lambda: text.parse("Diagonal(3"), ValueError, "must be a text such as"),
        (lambda: text.parse("Diagnal(3, 2)"), ValueError, "did you mean 'Diagonal'"),
        (lambda: text.parse("Chain([layers.Dens(3, 2)])"), ValueError, "did you mean"),
        (lambda: text.parse("print(3)"), ValueError, "must be one of"),
        (
            lambda: text.parse("__import__('os').system('ls')"),
            ValueError,
            "must consist of",
        ),
        (lambda: text.parse("Diagonal(x, 2)"), ValueError, "calls and numbers, got x"),
        (
            lambda: text.parse("Diagonal(**{'width': 2})"),
            ValueError,
            r"must not contain \*\*",
        ),
        (lambda: text.parse("Diagonal(2, depth=2)"), ValueError, "depth"),
        (lambda: text.parse("3"), ValueError, "must be a network"),
    ],
)
def test_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
