"""Functions of modules beside a file: imported when something is trained, not when a file is read."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from threading import RLock
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from linnet_fast.training.trajectory import Trajectory

_importing = RLock()


@dataclass(frozen=True)
class Beside:
    """A function of a module in a folder, and nowhere else.

    It is imported when it is first called, by each process that calls it; other modules of the folder
    are found by what is imported then, after all installed ones, and the path is as it was after it.

    Parameters
    ----------
    where : str
        What names it, for messages.
    path : str
        ``"module:function"``.
    folder : Path

    Raises
    ------
    ValueError
        If there is no such module. What is in it is not looked at.
    """

    where: str
    path: str
    folder: Path

    def __post_init__(self) -> None:
        """Look for the module."""
        self._spec()

    @property
    def module(self) -> str:
        """The name of the module."""
        return self.path.partition(":")[0]

    def _spec(self) -> ModuleSpec:
        importlib.invalidate_caches()
        top = self.module.partition(".")[0]
        spec = PathFinder.find_spec(top, [str(self.folder)]) if top.isidentifier() else None
        if spec is None:
            msg = f"{self.where} must be of a module in {self.folder}, there is no {self.module!r}"
            raise ValueError(msg)
        return spec

    def load(self) -> Any:
        """Return the function; ValueError if it cannot be imported, TypeError if it is none."""
        module, _, attribute = self.path.partition(":")
        try:
            with _importing, _found_last(str(self.folder)):
                found: Any = self._imported(module)
        except (Exception, SystemExit) as error:
            msg = f"{self.where} cannot import {module!r}: {type(error).__name__}: {error}"
            raise ValueError(msg) from error
        for part in attribute.split("."):
            found = getattr(found, part, None)
        if not callable(found):
            msg = f"{self.where} must name a function of {module}, got {attribute!r}"
            raise TypeError(msg)
        return found

    def _imported(self, module: str) -> ModuleType:
        top, _, inner = module.partition(".")
        # Of this folder, whatever else has the same name.
        own = f"_{hashlib.sha256(str(self.folder).encode()).hexdigest()[:16]}_{top}"
        if own not in sys.modules:
            spec = self._spec()
            spec.name = own
            if spec.loader is not None:
                spec.loader.name = own  # type: ignore[attr-defined]
            made = module_from_spec(spec)
            sys.modules[own] = made
            try:
                if spec.loader is not None:
                    spec.loader.exec_module(made)
            except BaseException:
                del sys.modules[own]
                raise
        return importlib.import_module(f"{own}.{inner}" if inner else own)

    def __call__(self, trajectory: Trajectory) -> npt.ArrayLike:
        """Return what the function gives."""
        result: npt.ArrayLike = self.load()(trajectory)
        return result


@dataclass(frozen=True)
class Unread:
    """Stands for a function where nothing is trained: a number per run."""

    n_axes: int

    def __call__(self, trajectory: Trajectory) -> npt.ArrayLike:
        """Return zeros."""
        return np.zeros((*trajectory.run_shape, *[1] * self.n_axes))


@contextmanager
def _found_last(folder: str) -> Iterator[None]:
    sys.path.append(folder)
    try:
        yield
    finally:
        for place in reversed(range(len(sys.path))):
            if sys.path[place] == folder:
                del sys.path[place]
                break
