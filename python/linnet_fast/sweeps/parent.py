"""Worker processes end when the process that hands out their work is gone.

A pool's workers wait for work from a pipe that they hold open themselves: killed, its process leaves
them waiting for good.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator

_LOOK_SECONDS = 0.5
_WRITE_SECONDS = 10.0  # what is being written may take so long


class _Here:
    """What this process does."""

    def __init__(self) -> None:
        self.settled = threading.Condition()
        self.n_writing = 0  # threads that write a chunk
        self.watched = 0  # the process in which a thread watches: one forked from it has none


_here = _Here()


def end_with_parent() -> None:
    """Let this process end soon after the one that made it, if that is one of multiprocessing's.

    Those of loky are, too. Workers that were started by a user or a batch system are left alone:
    their parent may be a shell that is gone for good reasons.
    """
    parent = multiprocessing.parent_process()
    if parent is None or _here.watched == os.getpid():
        return
    _here.watched = os.getpid()
    watch = threading.Thread(
        target=_watch, args=(_is_there(parent),), daemon=True, name="linnet-fast-parent"
    )
    # Where the system gives no thread, the worker works all the same.
    with contextlib.suppress(RuntimeError):
        watch.start()


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Keep the process until this is done, unless it takes very long."""
    with _here.settled:
        _here.n_writing += 1
    try:
        yield
    finally:
        with _here.settled:
            _here.n_writing -= 1
            _here.settled.notify_all()


def _is_there(parent: object) -> Callable[[], bool]:
    """Return a function that waits a moment and tells whether the parent is there."""
    # The sentinel is a pipe that closes with the parent; processes that were forked from it later may
    # hold it open, too. Whose parent dies gets another one, but not on Windows; the workers of a fork
    # server have that for a parent, which ends with the process it serves.
    before = os.getppid()
    sentinel = getattr(parent, "_sentinel", None)  # loky has none on POSIX
    if sentinel is None:
        pause = threading.Event()

        def look() -> bool:
            pause.wait(_LOOK_SECONDS)
            return os.getppid() == before
    else:

        def look() -> bool:
            parent.join(_LOOK_SECONDS)  # type: ignore[attr-defined]
            alive = parent.is_alive()  # type: ignore[attr-defined]
            return bool(alive) and os.getppid() == before

    return look


def _watch(is_there: Callable[[], bool]) -> None:
    while is_there():
        pass
    with _here.settled:
        _here.settled.wait_for(lambda: _here.n_writing == 0, _WRITE_SECONDS)
        # Nobody is there to be told, and what else there is to do must not keep the process.
        os._exit(1)
