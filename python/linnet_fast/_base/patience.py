"""A line now and then from what takes long, so that nobody thinks that it hangs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FIRST = 5.0
"""Seconds until the first line; each later one comes after twice as many."""


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
            tell(f"{what}: {after:g} s so far")
            after *= 2

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
