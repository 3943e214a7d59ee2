"""How far a sweep is, and telling whoever wants to know."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from linnet_fast._base import notebook
from linnet_fast.sweeps.engine import Done
from linnet_fast.sweeps.store import Counts
from linnet_fast.training.state import Status


@dataclass(frozen=True)
class SweepProgress:
    """How far a sweep is.

    Attributes
    ----------
    n_runs : int
        Runs of the sweep, of a shard of the shard.
    n_done : int
        Runs that are done, those found in the store included.
    n_diverged : int
        Runs among them that diverged.
    seconds : float
        Since the sweep began.
    runs_per_second : float
        Of this call; 0 at first.
    seconds_left : float
        At this rate; infinite at first.
    """

    n_runs: int
    n_done: int
    n_diverged: int
    seconds: float
    runs_per_second: float
    seconds_left: float


Progress: TypeAlias = bool | Callable[[SweepProgress], object]


def check_progress(progress: object) -> None:
    """Raise TypeError unless this is a bool or a callable."""
    if not (isinstance(progress, bool) or callable(progress)):
        msg = f"progress must be a bool or a callable, got {type(progress).__name__}"
        raise TypeError(msg)


class Meter:
    """Counts runs and tells whoever wants to know."""

    def __init__(self, n_runs: int, tell: Callable[[SweepProgress], object] | None) -> None:
        self.n_runs = n_runs
        self.n_kept = 0
        self._n_done = 0
        self._n_diverged = 0
        self._n_found = 0
        self._tell = tell
        self._begin = time.monotonic()
        self._process = os.getpid()

    def found(self, counts: Counts) -> None:
        """Count a chunk that was there before."""
        self._n_found += int(counts.sum())
        self.n_kept += int(counts.sum())
        self._count(counts)

    def trained(self, done: Done) -> None:
        """Count a chunk that has been trained."""
        self._count(done.counts)
        self.report()

    def kept(self, done: Done) -> None:
        """Count a chunk that nothing can take away any more."""
        self.n_kept += int(done.counts.sum())

    def within(self, n_runs: int, part: float) -> None:
        """Tell how far a chunk is."""
        self.report(n_runs * min(part, 1.0))

    def _count(self, counts: Counts) -> None:
        self._n_done += int(counts.sum())
        self._n_diverged += int(counts[Status.DIVERGED])

    def report(self, more: float = 0.0) -> None:
        """Tell how far it is; `more`: runs of the chunk that is being trained."""
        if self._tell is None:
            return
        seconds = time.monotonic() - self._begin
        done = min(self._n_done + more, self.n_runs)
        rate = (done - self._n_found) / seconds if seconds > 0 else 0.0
        left = (self.n_runs - done) / rate if rate > 0 else math.inf
        self._tell(SweepProgress(self.n_runs, int(done), self._n_diverged, seconds, rate, left))
        if os.getpid() != self._process:
            msg = (
                "a process that was forked within a sweep must not go on with it: its threads are in the "
                "process that began it"
            )
            raise RuntimeError(msg)


@contextmanager
def metered(progress: Progress, n_runs: int) -> Iterator[Meter]:
    """Give a meter that shows a bar, calls a function, or keeps silent."""
    if progress is False or (progress is True and sys.stderr is None):  # as without a console
        yield Meter(n_runs, None)
    elif progress is True:
        with notebook.bar("sweep", total=n_runs, unit="run") as bar:

            def tell(state: SweepProgress) -> None:
                bar.set_postfix_str(f"{state.n_diverged:,} diverged", refresh=False)
                bar.update(state.n_done - bar.n)

            yield Meter(n_runs, tell)
    else:
        yield Meter(n_runs, progress)
