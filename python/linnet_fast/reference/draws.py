"""Samples as the core draws them, in readable NumPy: shares nothing with it but the rules."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from linnet_fast import laws
from linnet_fast._base.validate import FloatArray, WeightArray
from linnet_fast.losses.binary import LogisticLoss, Loss, SphericalLogisticLoss
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.methods.descent import StochasticGradientDescent

_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
_ROUNDS = 10


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


def draw(loss: Loss, method: StochasticGradientDescent, step: int, stream: int) -> Loss:
    """Return the loss on the samples of one step of one run.

    Parameters
    ----------
    loss : LogisticLoss, ExponentialLoss or SphericalLogisticLoss
        Of the single run.
    method : StochasticGradientDescent
        What says how many.
    step : int
        Steps taken before.
    stream : int
        That of the run.

    Returns
    -------
    LogisticLoss or ExponentialLoss
        Of `batch_size` samples.

    Examples
    --------
    >>> law = laws.Sphere(2)
    >>> loss = SphericalLogisticLoss([1.0, 0.0], law)
    >>> draw(loss, StochasticGradientDescent(0.1, batch_size=5), 0, 0)
    LogisticLoss(n_samples=5, n_inputs=2, run_shape=())
    """
    n = method.batch_size
    if isinstance(loss, SquaredLoss):
        msg = "loss must have samples or a law, got a SquaredLoss"
        raise TypeError(msg)
    if not isinstance(loss, SphericalLogisticLoss):
        chosen = _uniform(philox(method.seed, step, stream, np.arange(n)), 0)
        index = np.minimum((chosen * loss.n_samples).astype(int), loss.n_samples - 1)
        return type(loss)(loss.inputs[index], loss.labels[index], loss.label_noise)
    x = _fresh(loss.law, method.seed, step, stream, n)
    return LogisticLoss(x, np.where(x @ loss.direction < 0, -1, 1), loss.label_noise)


def _uniform(words: npt.NDArray[np.uint64], first: int) -> FloatArray:
    """Return numbers in (0, 1) from two words: odd multiples of 2^-53."""
    bits = (words[first] << np.uint64(20)) | (words[first + 1] >> np.uint64(12))
    numbers: FloatArray = bits.astype(np.float64) * 2.0**-52 + 2.0**-53
    return numbers


def _fresh(law: laws.SphericalLaw, seed: int, step: int, stream: int, n: int) -> WeightArray:
    n_pairs = (law.dim + 1) // 2
    has_length = isinstance(law, laws.Ball | laws.RadialMixture)
    stride = n_pairs + has_length
    first = np.arange(n) * stride
    x = np.empty((n, 2 * n_pairs))
    for pair in range(n_pairs):
        words = philox(seed, step, stream, first + pair)
        length = np.sqrt(-2 * np.log(_uniform(words, 0)))
        turn = 2 * np.pi * _uniform(words, 2)
        x[:, 2 * pair], x[:, 2 * pair + 1] = length * np.cos(turn), length * np.sin(turn)
    x = x[:, : law.dim]
    if isinstance(law, laws.Gaussian):
        return law.scale * x
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    if isinstance(law, laws.Sphere):
        return law.radius * x
    u = _uniform(philox(seed, step, stream, first + n_pairs), 0)
    if isinstance(law, laws.Ball):
        return law.radius * u[:, None] ** (1 / law.dim) * x
    if not isinstance(law, laws.RadialMixture):
        msg = f"law must be one of linnet_fast.laws, got {type(law).__name__}"
        raise TypeError(msg)
    which = np.searchsorted(np.cumsum(law.probabilities)[:-1], u)
    return np.asarray(law.radii)[which, None] * x
