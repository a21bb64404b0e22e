"""From a command to its first step: how long it took, and a cache of compiled programs."""

from __future__ import annotations

import contextlib
import os
import pathlib
import time
from collections.abc import Iterator

import jax
from jax.experimental.compilation_cache import compilation_cache


@contextlib.contextmanager
def compiled_programs_in(folder: str | None) -> Iterator[None]:
    """Keeps compiled programs in a folder, and takes them from there; None leaves JAX as it is set.

    JAX keeps what took over a second to compile (`JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS`).
    """
    if folder is None:
        yield
        return
    before = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    _set_folder(os.fspath(pathlib.Path(folder).expanduser().resolve()))
    try:
        yield
    finally:
        _set_folder(before)


def _set_folder(folder: str | None) -> None:
    jax.config.update("jax_compilation_cache_dir", folder)
    # JAX opens the folder once, at the first compilation.
    compilation_cache.reset_cache()


def seconds_since_start() -> float | None:
    """How long this process has been running; None where the system does not say."""
    try:
        fields = pathlib.Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started
    except (OSError, AttributeError, ValueError, IndexError):
        return None
