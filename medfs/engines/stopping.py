"""SIGINT and SIGTERM during training: the step is finished and saved first."""

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Remembers the first SIGINT or SIGTERM within a ``with`` block; a second one is obeyed at once.

    Outside the main thread, where Python handles no signals, nothing is caught.

    Attributes:
        number: of the signal; None so far.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        self.__exit__()
        told = f"medfs: {signal.Signals(number).name}: finishing the step and saving; once more to leave at once\n"
        with contextlib.suppress(OSError):
            os.write(2, told.encode())  # print could be in the middle of another line

    def obey(self) -> None:
        """Do what the signal asks for; return if there was none.

        Raises:
            KeyboardInterrupt: it was SIGINT.
            SystemExit: it was SIGTERM; the code is 143.
        """
        if self.number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.number is not None:
            raise SystemExit(128 + self.number)
