"""Dense: sizes derived from the widths, and every refused argument."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from linnet_fast.networks.named import Dense


def test_dense_derives_sizes_from_widths():
    network = Dense(widths=(64, 32, 16, 10))
    assert network.n_layers == 3
    assert (network.n_inputs, network.n_outputs) == (64, 10)
    assert network.shapes == ((32, 64), (16, 32), (10, 16))
    assert network.n_weights == 64 * 32 + 32 * 16 + 16 * 10
    assert network.max_rank == 10


def test_dense_one_layer_of_width_one():
    network = Dense((1, 1))
    assert (network.n_layers, network.shapes, network.n_weights) == (1, ((1, 1),), 1)


@pytest.mark.parametrize(
    "widths", [[3, 4], np.array([3, 4]), (np.int8(3), np.uint64(4)), iter([3, 4])]
)
def test_dense_takes_any_sequence_of_integers(widths):
    network = Dense(widths)
    assert network == Dense((3, 4))
    assert hash(network) == hash(Dense((3, 4)))
    assert all(type(width) is int for width in network.widths)


def test_dense_is_a_frozen_value():
    network = Dense((3, 4))
    assert repr(network) == "Dense(widths=(3, 4))"
    assert network != Dense((4, 3))
    assert dataclasses.replace(network, widths=(1, 2)).shapes == ((2, 1),)
    with pytest.raises(dataclasses.FrozenInstanceError):
        network.widths = (1, 2)


def test_dense_accepts_the_largest_sizes():
    assert Dense((2**31 - 1, 2**31 - 1)).n_weights == (2**31 - 1) ** 2


@pytest.mark.parametrize(
    ("widths", "exception", "message"),
    [
        ("64", TypeError, "widths must be a sequence of integers, got str '64'"),
        (5, TypeError, "widths must be a sequence of integers, got int 5"),
        (None, TypeError, "widths must be a sequence of integers, got NoneType"),
        ((True, 2), TypeError, r"widths\[0\] must be an integer, got bool True"),
        ((2, np.True_), TypeError, r"widths\[1\] must be an integer, got bool"),
        ((2, 3.0), TypeError, r"widths\[1\] must be an integer, got float 3.0"),
        ((2, None), TypeError, r"widths\[1\] must be an integer, got NoneType"),
        ((2, "3"), TypeError, r"widths\[1\] must be an integer, got str"),
        (np.array([2.0, 3.0]), TypeError, r"widths\[0\] must be an integer, got float64"),
        (np.ones((2, 2), int), TypeError, r"widths\[0\] must be an integer, got ndarray"),
        ((), ValueError, r"at least 2 entries .* got \(\)"),
        ((2,), ValueError, r"at least 2 entries .* got \(2,\)"),
        ((2, 0), ValueError, r"widths\[1\] must be >= 1, got 0"),
        ((-3, 2), ValueError, r"widths\[0\] must be >= 1, got -3"),
        ((2, 2**31), ValueError, r"widths\[1\] must be <= 2147483647, got 2147483648"),
        ((2, 10**400), ValueError, r"widths\[1\] must be <= 2147483647"),
        ((2**31 - 1,) * 3, ValueError, r"fewer than 2\*\*62 weights, got 9223372028264841218"),
    ],
)
def test_dense_refuses(widths, exception, message):
    with pytest.raises(exception, match=message):
        Dense(widths)
