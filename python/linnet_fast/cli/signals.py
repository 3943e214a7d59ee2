"""What ends a command from outside is taken as Ctrl-C is: what is done is kept, and a sentence says so."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from linnet_fast.cli.outputs import INTERRUPTED

_NAMES = ("SIGTERM", "SIGHUP")  # of a batch system at its time limit; of a terminal that is closed
_TOGETHER_SECONDS = 5.0


class Interruption:
    """What has interrupted a command."""

    def __init__(self) -> None:
        self.code = INTERRUPTED
        self._first: float | None = None

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        """Interrupt as Ctrl-C does. Signals often come in twos: the second leaves the first its way out."""
        now = time.monotonic()
        if self._first is not None and now - self._first < _TOGETHER_SECONDS:
            return
        self._first = now
        self.code = 128 + number
        raise KeyboardInterrupt


@contextmanager
def interrupting() -> Iterator[Interruption]:
    """Let signals interrupt that would else end the process; those that are ignored stay so, as under nohup."""
    interruption = Interruption()
    taken = []
    try:
        if threading.current_thread() is threading.main_thread():
            for name in _NAMES:
                number = getattr(signal, name, None)  # Windows has no SIGHUP
                if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                    signal.signal(number, interruption)
                    taken.append(number)
        yield interruption
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
