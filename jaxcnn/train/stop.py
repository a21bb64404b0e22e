"""Ctrl-C and SIGTERM as a request that all processes honour at the same step."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any

from jaxcnn.processes import Vote

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# How long Python may take to answer a second signal before the process is ended without it: a
# compilation runs for minutes without returning to Python.
_PATIENCE = 2.0


class StopRequest:
    """While entered, the first SIGINT or SIGTERM asks to stop; a second one ends at once.

    In a thread other than the main one, where Python allows no handlers, it notices none.
    """

    def __init__(self) -> None:
        self._mine: int = 0
        self._agreed: int = 0
        self._vote = Vote()
        self._previous: dict[signal.Signals, Any] = {}
        self._pipe: tuple[int, int] | None = None
        self._old_fd = -1

    @property
    def signal(self) -> signal.Signals | None:
        """The signal that all processes agreed to stop for."""
        return signal.Signals(self._agreed) if self._agreed else None

    @property
    def requested(self) -> bool:
        """Whether all processes agreed to stop, as of the last `poll`."""
        return self._agreed != 0

    def poll(self) -> bool:
        """Agrees with the other processes; all have to call it equally often."""
        self._agreed = self._agreed or self._vote(self._mine)
        return self.requested

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._mine:
            self._restore()
            signal.raise_signal(signal.Signals(number))
        self._mine = number

    def _listen(self, pipe: int) -> None:
        # C code writes each signal's number here at once, even while Python is not running.
        seen = 0
        while (data := os.read(pipe, 1)) > b"\0":
            if data[0] not in SIGNALS:
                # Whoever listened before, an event loop say, still waits for the others.
                if self._old_fd >= 0:
                    with contextlib.suppress(OSError):
                        os.write(self._old_fd, data)
                continue
            seen += 1
            if seen == 2:
                timer = threading.Timer(_PATIENCE, self._end, args=(data[0],))
                timer.daemon = True
                timer.start()
        os.close(pipe)

    def _end(self, number: int) -> None:
        if self._pipe is not None:
            os._exit(128 + number)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()
        if self._pipe is not None:
            signal.set_wakeup_fd(self._old_fd)
            with contextlib.suppress(BlockingIOError):  # full of signals: closing ends it as well
                os.write(self._pipe[1], b"\0")
            os.close(self._pipe[1])
            self._pipe = None

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._pipe = os.pipe()
            os.set_blocking(self._pipe[1], False)
            self._old_fd = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
            threading.Thread(target=self._listen, args=(self._pipe[0],), daemon=True).start()
            for number in SIGNALS:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()
