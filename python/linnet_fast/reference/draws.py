"""Samples as the core draws them, in readable NumPy: shares nothing with it but the rules."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import numpy.typing as npt

from linnet_fast._base.validate import FloatArray, Shape, WeightArray
from linnet_fast.laws.draws import chosen, normal, shuffled
from linnet_fast.losses.base import Loss, Words
from linnet_fast.methods.base import Method
from linnet_fast.methods.noise import GaussianNoise
from linnet_fast.networks.chain import Chain

_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
_ROUNDS = 10
_ORDER, _NOISE, _WEIGHTS = 1, 2, 3
"""What random numbers are for that are not those of samples: the highest two bits of a step."""


def philox(
    seed: int, step: int, stream: int, blocks: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint64]:
    """Return the four 32-bit words of each block, shape (4, n_blocks), of Philox4x32-10.

    Parameters
    ----------
    seed, step, stream : int
        64, 64 and 32 bits: the key, and three words of the counter.
    blocks : ndarray of int64, shape (n_blocks,)
        The first word of the counter.

    Returns
    -------
    ndarray of uint64, shape (4, n_blocks)

    Examples
    --------
    The published answer for zeros:

    >>> import numpy as np
    >>> [f"{int(word):08x}" for word in philox(0, 0, 0, np.array([0]))[:, 0]]
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    a = blocks.astype(np.uint64) & _LOW
    b = np.full_like(a, step & 0xFFFFFFFF)
    c = np.full_like(a, step >> 32)
    d = np.full_like(a, stream)
    key = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(_ROUNDS):
        first, second = a * np.uint64(0xD2511F53), c * np.uint64(0xCD9E8D57)
        a, b, c, d = (
            (second >> _SHIFT) ^ b ^ np.uint64(key[0]),
            second & _LOW,
            (first >> _SHIFT) ^ d ^ np.uint64(key[1]),
            first & _LOW,
        )
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return np.stack([a, b, c, d])


def draw(
    loss: Loss, method: Method, step: int, stream: int, run: tuple[int, ...] = (), runs: Shape = ()
) -> Loss:
    """Return the loss on the samples of one step of one run.

    Parameters
    ----------
    loss : Loss
        Of the single run; samples can be drawn of it.
    method : Method
        What says how many.
    step : int
        Steps taken before.
    stream : int
        That of the run.
    run, runs : tuple of int
        Which run it is, and the shape of the run axes.

    Returns
    -------
    Loss
        On the samples of the step.

    Examples
    --------
    >>> from linnet_fast import SphericalLogisticLoss, StochasticGradientDescent, laws
    >>> loss = SphericalLogisticLoss([1.0, 0.0], laws.Sphere(2))
    >>> draw(loss, StochasticGradientDescent(0.1, batch_size=5), 0, 0)
    LogisticLoss(n_samples=5, n_inputs=2, run_shape=())
    """
    batches = method.batches
    if batches is None:
        msg = f"method must draw samples, got {method}"
        raise TypeError(msg)

    def words(place: int, purpose: int = 0) -> Words:
        return partial(philox, batches.seed, place | purpose << 62, stream)

    n_all = loss.n_choices
    if n_all is None:
        size = batches.size_at(step)
        fresh = loss.drawn(size, words(step))
        return _noisy(fresh, size, loss.fresh_noise_std, words(step, _NOISE))
    if batches.sees_all:
        index = np.arange(n_all)
    elif batches.replace:
        index = chosen(words(step), batches.size_at(step), n_all)
    else:
        seen = batches.samples_before(step) + np.arange(batches.size_at(step))
        epochs = {int(e): shuffled(words(int(e), _ORDER), n_all) for e in np.unique(seen // n_all)}
        index = np.array([epochs[int(at // n_all)][at % n_all] for at in seen])
    std = np.broadcast_to(batches.label_noise_std, runs)[run] if batches.has_noise else None
    return _noisy(loss.chosen(index), len(index), std, words(step, _NOISE))


def noise_on(
    noise: GaussianNoise, network: Chain, number: int, step: int, rate: WeightArray, runs: Shape
) -> WeightArray:
    """Return what noise adds to an array of weights in a step, shape (*run, *network.shapes[number]).

    Parameters
    ----------
    noise : GaussianNoise
        How hot it is.
    network : Chain
        What is trained.
    number : int
        Which array of weights.
    step : int
        Steps taken before.
    rate : ndarray, shape (*run)
        Step sizes of the array.
    runs : tuple of int
        Shape of the run axes.

    Returns
    -------
    ndarray
    """
    before = sum((math.prod(shape) + 1) // 2 for shape in network.shapes[:number])
    shape = network.shapes[number]
    streams = noise.streams_of(runs)
    std = np.sqrt(2 * np.broadcast_to(noise.temperature, runs) * np.broadcast_to(rate, runs))
    found = np.empty((*runs, *shape), rate.dtype)
    for run in np.ndindex(runs):
        words = partial(philox, noise.seed, step | _WEIGHTS << 62, int(streams[run]))
        blocks = before + np.arange((math.prod(shape) + 1) // 2)
        numbers = normal(words, blocks, 2).ravel()[: math.prod(shape)]
        found[run] = std[run] * numbers.reshape(shape)
    return found


def _noisy(own: Loss, n: int, std: FloatArray | None, words: Words) -> Loss:
    """Return the loss of a step with normal noise on its n samples' targets, if there is any."""
    if std is None:
        return own
    n_pairs = (own.n_outputs + 1) // 2
    return own.with_noise(float(std) * normal(words, np.arange(n) * n_pairs, own.n_outputs))
