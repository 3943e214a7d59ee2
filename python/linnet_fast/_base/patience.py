"""What takes long: a line now and then, so that nobody thinks that it hangs, and an end on Ctrl-C."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy.typing as npt

T = TypeVar("T")

FIRST = 5.0
"""Seconds until the first line; each later one comes after twice as many."""

_LONG = 1e6
"""Entries times rank of matrices, of which decompositions take some 10 ms: worth another thread."""


@contextmanager
def telling(what: str, tell: Callable[[str], object], first: float = FIRST) -> Iterator[None]:
    """Tell how long something has taken, after five seconds, ten, twenty and so on.

    Parameters
    ----------
    what : str
        Begins the line.
    tell : callable
        Is given the lines, from another thread.
    first : float
        Seconds until the first.
    """
    done = threading.Event()
    begin = time.monotonic()

    def watch() -> None:
        after = first
        while not done.wait(begin + after - time.monotonic()):
            try:
                tell(f"{what}: {after:g} s so far")
            except Exception:  # noqa: BLE001 (nobody listens; the work itself will find out)
                return
            after *= 2

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def awaited(function: Callable[..., T], array: npt.NDArray[Any], *others: Any, **options: Any) -> T:
    """Return ``function(array, *others, **options)`` of NumPy's linear algebra; Ctrl-C ends the wait.

    NumPy cannot be interrupted. So what may take long is done in another thread while this one waits:
    on Ctrl-C the error comes at once, and what is under way goes on until it is done, unheeded.

    Parameters
    ----------
    function : callable
    array : ndarray, shape (..., m, n)
        Matrices, whose sizes tell how long it may take.
    *others, **options
        More arguments.

    Examples
    --------
    >>> import numpy as np
    >>> awaited(np.linalg.eigvalsh, np.diag([2.0, 1.0])).tolist()
    [1.0, 2.0]
    """
    in_main = threading.current_thread() is threading.main_thread()  # others get no signals
    if not in_main or array.size * min(array.shape[-2:], default=0) < _LONG:
        return function(array, *others, **options)
    found: list[T] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            found.append(function(array, *others, **options))
        except BaseException as error:  # noqa: BLE001 (raised where it is waited for)
            failed.append(error)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join()
    if failed:
        raise failed[0]
    return found[0]
