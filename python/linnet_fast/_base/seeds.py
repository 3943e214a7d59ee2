"""Seeds of random numbers: what ``rng=`` takes, everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate

Seed: TypeAlias = (
    int
    | Sequence[int]
    | npt.NDArray[np.integer[Any]]
    | np.random.SeedSequence
    | np.random.BitGenerator
    | np.random.Generator
    | None
)

_MOST_WORDS = 2**16
_KINDS = (np.random.SeedSequence, np.random.BitGenerator, np.random.Generator)


def generator(rng: Seed, name: str = "rng") -> np.random.Generator:
    """Return the generator that `rng` stands for, after SPEC 7.

    NumPy looks into a seed until it finds numbers, and crashes on a list that contains itself: here
    a seed is a number or a flat sequence of them.

    Parameters
    ----------
    rng : None, int >= 0, sequence of int >= 0, SeedSequence, BitGenerator or Generator
        None draws from the system. Generators are taken as they are, and go on.
    name : str
        Of the argument.

    Raises
    ------
    TypeError
        If it is something else.
    ValueError
        If a number is negative, or there are none, or more than 65,536.

    Examples
    --------
    >>> int(generator(7).integers(100)) == int(np.random.default_rng(7).integers(100))
    True
    """
    if rng is None or isinstance(rng, _KINDS):
        return np.random.default_rng(rng)
    if isinstance(rng, list | tuple | range) or (isinstance(rng, np.ndarray) and rng.ndim):
        words = validate.integers(name, rng, low=0, high=None, most=_MOST_WORDS)
        if not words:
            msg = f"{name} must have at least one number, got none"
            raise ValueError(msg)
        return np.random.default_rng(words)
    kinds = "None, an integer >= 0, a sequence of such, a SeedSequence, BitGenerator or Generator"
    if isinstance(rng, bool | np.bool_) or not hasattr(rng, "__index__"):
        msg = f"{name} must be {kinds}, got {validate.shown(rng)}"
        raise TypeError(msg)
    return np.random.default_rng(validate.integer(name, rng, low=0, high=None))
