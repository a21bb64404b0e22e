"""Several processes as one run: starting, agreeing, and ending together.

JAX's own runtime does the work: its coordination service, and XLA's collectives.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

# The variables by which JAX itself recognises a launcher, and the one that holds the number of
# processes. Only where all are set are JAX's own detection and its network calls asked for.
LAUNCHERS = {
    "slurm": (
        ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_PROCID", "SLURM_LOCALID"),
        "SLURM_NTASKS",
    ),
    "ompi": (("OMPI_MCA_orte_hnp_uri", "OMPI_COMM_WORLD_RANK"), "OMPI_COMM_WORLD_SIZE"),
}
_PORT = "8476"


@dataclasses.dataclass(frozen=True)
class ProcessOptions:
    """How this process finds the others.

    Attributes:
      coordinator: `HOST:PORT` of process 0, at an interface of its machine; None looks for a
        launcher (SLURM, Open MPI, TPU pods) and runs alone where there is none.
      num_processes: of the run; needed with a coordinator.
      process_id: of this process, from 0; needed with a coordinator.
      bind: address that process 0 listens at where a launcher was found; with a coordinator it
        listens at the coordinator's address.
      heartbeat_seconds: a process that was silent for so long is dead.
    """

    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None
    bind: str | None = None
    heartbeat_seconds: int = 100

    def __post_init__(self) -> None:
        if self.heartbeat_seconds < 1:
            raise ValueError(f"heartbeat_seconds={self.heartbeat_seconds} must be at least 1.")
        if self.coordinator is None:
            if self.num_processes is not None or self.process_id is not None:
                raise ValueError("num_processes and process_id need a coordinator HOST:PORT.")
            return
        host, _, port = self.coordinator.rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f"coordinator={self.coordinator!r} is not HOST:PORT.")
        if self.num_processes is None or self.process_id is None:
            raise ValueError("A coordinator needs num_processes and process_id as well.")
        if not 0 <= self.process_id < self.num_processes:
            raise ValueError(
                f"process_id={self.process_id} must lie in 0..{self.num_processes - 1}."
            )


def find_launcher(environ: Mapping[str, str]) -> str | None:
    """The launcher that started several processes: `slurm`, `ompi`, `tpu`, or None.

    One task of SLURM or Open MPI counts as none: JAX would give it one device of the machine.
    """
    for name, (needed, count) in LAUNCHERS.items():
        if all(variable in environ for variable in needed):
            return name if int(environ.get(count, "1")) > 1 else None
    platforms = environ.get("JAX_PLATFORMS", "")
    if importlib.util.find_spec("libtpu") is None or (platforms and "tpu" not in platforms):
        return None
    hosts = environ.get("TPU_PROCESS_ADDRESSES") or environ.get("TPU_WORKER_HOSTNAMES")
    if hosts is not None:
        several = "," in hosts or int(environ.get("MEGASCALE_NUM_SLICES", "1")) > 1
        return "tpu" if several else None
    return None if "TPU_SKIP_MDS_QUERY" in environ else "tpu"


def start(options: ProcessOptions | None = None) -> int:
    """Joins the other processes, before anything else is asked of JAX.

    Returns:
      the number of processes.

    Raises:
      ValueError: options that cannot work.
      RuntimeError: the others could not be reached.
    """
    options = options or ProcessOptions()
    launcher = None if options.coordinator else find_launcher(os.environ)
    if options.coordinator is None and launcher is None:
        return 1
    # Signals are answered by `train.stop`, on all processes at the same step; the runtime's own
    # handler would swallow SIGTERM wherever nobody asks it.
    jax.config.update("jax_enable_preemption_service", False)
    seconds = options.heartbeat_seconds
    common: dict[str, Any] = {
        "heartbeat_timeout_seconds": seconds,
        "shutdown_timeout_seconds": seconds,
    }
    if options.coordinator:
        jax.distributed.initialize(
            options.coordinator,
            options.num_processes,
            options.process_id,
            # The default listens at every interface of the machine.
            coordinator_bind_address=options.coordinator,
            cluster_detection_method="deactivate",
            **common,
        )
    elif options.bind:
        port = os.environ.setdefault("JAX_COORDINATOR_PORT", _PORT)
        jax.distributed.initialize(coordinator_bind_address=f"{options.bind}:{port}", **common)
    else:
        jax.distributed.initialize(**common)
    return jax.process_count()


def is_main() -> bool:
    """Whether this process writes logs and figures."""
    return jax.process_index() == 0


def abort(code: int) -> NoReturn:
    """Ends this process at once, so that the others notice at once.

    The usual end would wait for them, while they wait for this one's collectives.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class OtherProcessFailed(RuntimeError):
    """Process 0 could not do what all of them wait for."""


def from_main(make: Callable[[], int]) -> int:
    """What `make()` gives on process 0, on every process; an error there ends all of them.

    Raises:
      OtherProcessFailed: elsewhere than on process 0, if `make` raised there.
    """
    if jax.process_count() == 1:
        return make()
    from jax.experimental import multihost_utils

    error: Exception | None = None
    value = np.zeros(2, np.int32)
    if is_main():
        try:
            value[0] = make()
        except Exception as caught:
            error, value[1] = caught, 1
    value = multihost_utils.broadcast_one_to_all(value)
    if error is not None:
        raise error
    if value[1]:
        raise OtherProcessFailed("Process 0 failed; its own message says why.")
    return int(value[0])


class Vote:
    """The largest number that any process gives, on all of them in the same call.

    The answer comes `LAG` calls late, so that nobody waits for a collective: every process has to
    call it equally often.
    """

    LAG = 2

    def __init__(self) -> None:
        self._pending: collections.deque[jax.Array] = collections.deque()

    @functools.cached_property
    def _split(self) -> NamedSharding:
        return NamedSharding(Mesh(np.array(jax.devices()), ("all",)), PartitionSpec("all"))

    @functools.cached_property
    def _largest(self) -> Callable[[jax.Array], jax.Array]:
        whole = NamedSharding(self._split.mesh, PartitionSpec())
        return jax.jit(jnp.max, in_shardings=self._split, out_shardings=whole)

    def __call__(self, mine: int) -> int:
        if jax.process_count() == 1:
            return mine
        given = np.full(jax.local_device_count(), mine, np.int32)
        votes = jax.make_array_from_process_local_data(self._split, given)
        self._pending.append(self._largest(votes))
        return int(self._pending.popleft()) if len(self._pending) > self.LAG else 0
