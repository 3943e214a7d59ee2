"""Random numbers as the core makes them, in readable NumPy: from words of 32 bits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from linnet_fast._base.validate import FloatArray


def uniform(words: npt.NDArray[np.uint64], first: int) -> FloatArray:
    """Return numbers in (0, 1) from two words: odd multiples of 2^-53.

    Parameters
    ----------
    words : ndarray of uint64, shape (4, n)
        Words of 32 bits.
    first : {0, 2}
        Which two of the four.

    Returns
    -------
    ndarray of float64, shape (n,)

    Examples
    --------
    >>> uniform(np.array([[2**31], [0], [0], [0]], np.uint64), 0).tolist()
    [0.5000000000000001]
    """
    bits = (words[first] << np.uint64(20)) | (words[first + 1] >> np.uint64(12))
    numbers: FloatArray = bits.astype(np.float64) * 2.0**-52 + 2.0**-53
    return numbers


def chosen(
    words: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.uint64]], n: int, n_samples: int
) -> npt.NDArray[np.int64]:
    """Return places of the `n` samples of a step among `n_samples`, drawn with replacement.

    Parameters
    ----------
    words : callable
        Numbers of blocks -> their words.
    n, n_samples : int
        How many of how many.

    Returns
    -------
    ndarray of int64, shape (n,)

    Examples
    --------
    >>> halves = lambda blocks: np.full((4, len(blocks)), 2**31, np.uint64)
    >>> chosen(halves, 2, 10).tolist()
    [5, 5]
    """
    index = (uniform(words(np.arange(n)), 0) * n_samples).astype(np.int64)
    return np.minimum(index, n_samples - 1)


def shuffled(
    words: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.uint64]], n_samples: int
) -> npt.NDArray[np.int64]:
    """Return all places in an order that is drawn, after Fisher and Yates.

    Parameters
    ----------
    words : callable
        Numbers of blocks -> their words.
    n_samples : int
        How many places.

    Returns
    -------
    ndarray of int64, shape (n_samples,)

    Examples
    --------
    >>> lowest = lambda blocks: np.zeros((4, len(blocks)), np.uint64)
    >>> shuffled(lowest, 4).tolist()
    [1, 2, 3, 0]
    """
    order = np.arange(n_samples)
    numbers = uniform(words(order), 0)
    for i in range(n_samples - 1, -1, -1):
        other = min(int(numbers[i] * (i + 1)), i)
        order[i], order[other] = order[other], order[i]
    return order


def normal(
    words: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.uint64]],
    first: npt.NDArray[np.int64],
    dim: int,
) -> FloatArray:
    """Return normal vectors, two coordinates from each block of words by the Box-Muller transform.

    Parameters
    ----------
    words : callable
        Numbers of blocks -> their words.
    first : ndarray of int64, shape (n,)
        The first block of each vector.
    dim : int
        Number of coordinates.

    Returns
    -------
    ndarray of float64, shape (n, dim)
    """
    n_pairs = (dim + 1) // 2
    x = np.empty((len(first), 2 * n_pairs))
    for pair in range(n_pairs):
        random_words = words(first + pair)
        length = np.sqrt(-2 * np.log(uniform(random_words, 0)))
        turn = 2 * np.pi * uniform(random_words, 2)
        x[:, 2 * pair], x[:, 2 * pair + 1] = length * np.cos(turn), length * np.sin(turn)
    return x[:, :dim]
