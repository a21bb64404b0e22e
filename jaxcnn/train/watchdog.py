"""Ends a run that makes no progress, with the stack of every thread in its log."""

from __future__ import annotations

import faulthandler
import time


class Watchdog:
    """While entered, ends the process with code 1 after `seconds` without a call of `alive`.

    A process that waits for one that hangs cannot be told from it, so both end: the collectives
    of XLA have no time limit of their own on every backend.

    Attributes:
      seconds: the limit, which has to be longer than a compilation; 0 watches nothing.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._armed = -float("inf")

    def alive(self) -> None:
        """Says that something was done."""
        now = time.monotonic()
        # Arming starts a thread; steps can be shorter than that takes. 2 is the process's own
        # stderr, whatever sys.stderr has been replaced by.
        if self.seconds and now - self._armed > min(1.0, self.seconds / 10):
            faulthandler.dump_traceback_later(self.seconds, exit=True, file=2)
            self._armed = now

    def __enter__(self) -> Watchdog:
        self.alive()
        return self

    def __exit__(self, *error: object) -> None:
        if self.seconds:
            faulthandler.cancel_dump_traceback_later()
