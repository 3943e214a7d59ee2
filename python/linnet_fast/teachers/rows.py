"""Which of runs differ in their data: those are drawn and made once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.losses.problem import Seeding
from linnet_fast.teachers.draws import Numbers


class Rows:
    """Which of runs differ in their data, and the random numbers of those.

    Parameters
    ----------
    parameters : mapping of str to ndarray, shape (*run)
        What data depend on besides the seed.
    seeding : Seeding
        Whose numbers have run axes that broadcast with those.
    task : int
        Of the teacher.
    """

    def __init__(self, parameters: Mapping[str, FloatArray], seeding: Seeding, task: int) -> None:
        columns: dict[str, npt.NDArray[Any]] = {"seed": seeding.numbers, **parameters}
        self.runs = validate.broadcast_runs(**{k: a.shape for k, a in columns.items()})
        flat = {k: np.broadcast_to(a, self.runs).reshape(-1) for k, a in columns.items()}
        n_runs = math.prod(self.runs)
        code = np.zeros(n_runs, np.int64)
        for name, column in flat.items():
            if columns[name].size > 1:
                own = np.unique(column, return_inverse=True)[1]
                code = np.unique(code * (own.max(initial=0) + 1) + own, return_inverse=True)[1]
        different, first, which = np.unique(code, return_index=True, return_inverse=True)
        self.n = len(different)
        self.which = which
        self._values = {name: column[first] for name, column in flat.items()}
        seeds, self._seed_of_row = np.unique(self._values["seed"], return_inverse=True)
        self.numbers = Numbers(seeding, seeds, task)

    def parameter(self, name: str) -> FloatArray:
        """Return a parameter of different runs, (n_rows,)."""
        return self._values[name]

    def of(self, array: FloatArray) -> FloatArray:
        """Return what has a row per seed with a row per different run."""
        is_same = len(array) == self.n and (np.diff(self._seed_of_row) == 1).all()
        return array if is_same else array[self._seed_of_row]

    def of_runs(self, array: FloatArray) -> FloatArray:
        """Return what has a row per different run with all run axes."""
        return array[self.which].reshape((*self.runs, *array.shape[1:]))
