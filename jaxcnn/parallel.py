"""Devices and their mesh, and how one step is mapped over them.

Every spelling of `jit` over a mesh and of `pmap` that the library uses stands in this file.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "batch"
Kind = Literal["jit", "pmap", "fsdp"]
Tree = TypeVar("Tree")
# Arrays with fewer elements are copied to every device by `fsdp` too: gathering them would cost
# more time than they cost memory.
_SMALL = 1024


@dataclasses.dataclass(frozen=True)
class DeviceMapping:
    """One way of running a step on some devices: the batch split, the state copied to each.

    Under `jit` the step sees the global batch, and the compiler inserts the collectives; under
    `pmap` it sees one device's share and must average over `axis_name` itself. `fsdp` is `jit`
    with the state split as well: each device holds 1/N of every large array, and has the whole
    of the parameters only while a step uses them.

    Attributes:
      kind: `jit` over a one-dimensional mesh, `fsdp`, or `pmap`.
      devices: the devices of all processes, in the order in which they take the batch's rows.
    """

    kind: Kind
    devices: tuple[jax.Device, ...]

    @property
    def size(self) -> int:
        """Number of devices over all processes."""
        return len(self.devices)

    @property
    def local_size(self) -> int:
        """Number of devices of this process."""
        return sum(d.process_index == jax.process_index() for d in self.devices)

    @property
    def axis_name(self) -> str | None:
        """The axis over which a step has to average: `None` where the compiler does it."""
        return AXIS if self.kind == "pmap" else None

    @property
    def shards(self) -> int:
        """In how many device shares the batch that a step sees is split."""
        return 1 if self.kind == "pmap" else self.size

    @functools.cached_property
    def mesh(self) -> Mesh:
        return Mesh(np.array(self.devices), (AXIS,), axis_types=(AxisType.Auto,))

    @property
    def replicated(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def split(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec(AXIS))

    def check_batch_size(self, batch_size: int, accumulate: int = 1) -> None:
        """Raises ValueError if the devices and micro-batches don't divide a global batch."""
        parts = self.size * accumulate
        if batch_size % parts:
            near = max(parts, batch_size // parts * parts)
            what = f"{self.size} devices"
            if accumulate > 1:
                what += f" times {accumulate} accumulation steps"
            raise ValueError(f"batch_size={batch_size} is not divisible by {what}; use {near}.")

    @property
    def gathered(self) -> NamedSharding | None:
        """Where a step has to put the parameters before it uses them; None: they are there."""
        return self.replicated if self.kind == "fsdp" else None

    def state_shardings(self, tree: Tree) -> Tree:
        """The sharding of each array of a state (or of its shapes), outside of pmap."""
        return jax.tree.map(self._sharding, tree)

    def _sharding(self, x: Any) -> NamedSharding:
        # Of the dimensions that the devices divide, the largest; the last one of equals.
        fitting = [(n, axis) for axis, n in enumerate(x.shape) if n % self.size == 0]
        if self.kind != "fsdp" or not fitting or np.prod(x.shape) < _SMALL:
            return self.replicated
        _, axis = max(fitting)
        return NamedSharding(self.mesh, PartitionSpec(*[None] * axis, AXIS))

    def abstract_state(self, shapes: Tree) -> Tree:
        """Shapes and types with the shardings in which a checkpoint is to be read."""
        return jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
            shapes,
            self.state_shardings(shapes),
        )

    def put_state(self, tree: Tree) -> Tree:
        """Places a host's (or one device's, or a restored) tree as the steps want it."""
        if self.kind == "pmap":
            return jax.tree.map(self._stack, tree)
        return jax.tree.map(_place, tree, self.state_shardings(tree))

    def _stack(self, x: Any) -> jax.Array:
        # pmap wants a leading axis with one copy for each device.
        if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            data = self._stack(jax.random.key_data(x))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
        x = np.asarray(x)
        return _put(np.broadcast_to(x, (self.local_size, *x.shape)), self.split)

    def get_state(self, tree: Tree) -> Tree:
        """The inverse of `put_state`, as arrays that still live on the device."""
        return jax.tree.map(_first, tree) if self.kind == "pmap" else tree

    def put_batch(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """Splits this process's rows `[b, ...]` of a batch over its devices."""
        return {name: _put(self._rows(x), self.split) for name, x in batch.items()}

    def put_rows(self, rows: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """Splits this process's part of several batches, `[steps, b]`, over its devices."""
        return {name: _put(x, self._abreast) for name, x in rows.items()}

    @property
    def _abreast(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec(None, AXIS))

    def _rows(self, x: Any) -> Any:
        if self.kind != "pmap":
            return x
        return x.reshape(self.local_size, -1, *x.shape[1:])

    def get_rows(self, tree: Any) -> Any:
        """Per-example outputs `[B, ...]` of all processes, on the host, in the batch's order."""
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils

            tree = multihost_utils.process_allgather(tree, tiled=True)
        tree = jax.tree.map(np.asarray, tree)
        if self.kind == "pmap":
            tree = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)
        return tree

    def get_metrics(self, tree: Any) -> Any:
        """Scalars, or their rows over steps, that are equal on all devices, as host values."""
        values = jax.device_get(self.get_state(tree))
        return jax.tree.map(lambda x: x.tolist(), values)

    def map_train(self, step: Callable[[Any, Any], tuple[Any, Any]]) -> Callable[..., Any]:
        """Compiles `step(state, batch) -> (state, metrics)` with its state donated."""
        if self.kind == "pmap":
            return jax.pmap(step, axis_name=AXIS, devices=list(self.devices), donate_argnums=0)
        if self.kind == "jit":
            return jax.jit(
                step,
                in_shardings=(self.replicated, self.split),
                out_shardings=(self.replicated, self.replicated),
                donate_argnums=0,
            )
        return jax.jit(
            self._sharded(step),
            in_shardings=(None, self.split),
            out_shardings=(None, self.replicated),
            donate_argnums=0,
        )

    def map_steps(self, step: Callable[[Any, Any], tuple[Any, Any]]) -> Callable[..., Any]:
        """Compiles `(state, table, rows) -> (state, metrics)`: one step for each row of `rows`.

        The table is `put_table`'s, the rows `put_rows`'s; metrics come as `[steps]`. The state is
        donated. Not under pmap.
        """

        def steps(state: Any, table: dict[str, jax.Array], rows: Any) -> tuple[Any, Any]:
            def one(state: Any, row: dict[str, jax.Array]) -> tuple[Any, Any]:
                batch = jax.lax.with_sharding_constraint(_pick(table, row), self.split)
                return self._sharded(step)(state, batch)

            return jax.lax.scan(one, state, rows)

        placed = self.replicated if self.kind == "jit" else None
        return jax.jit(
            steps,
            in_shardings=(placed, self.replicated, self._abreast),
            out_shardings=(placed, self.replicated),
            donate_argnums=0,
        )

    def _sharded(self, step: Callable[[Any, Any], tuple[Any, Any]]) -> Callable[..., Any]:
        """The step with its new state split as the old one; under jit the step itself."""
        if self.kind == "jit":
            return step

        def sharded_step(state: Any, batch: Any) -> tuple[Any, Any]:
            state, metrics = step(state, batch)
            return jax.lax.with_sharding_constraint(state, self.state_shardings(state)), metrics

        return sharded_step

    def map_eval(self, step: Callable[[Any, Any], Any]) -> Callable[..., Any]:
        """Compiles `step(variables, batch) -> per-example outputs [B, ...]`."""
        if self.kind == "pmap":
            return jax.pmap(step, axis_name=AXIS, devices=list(self.devices))
        if self.kind == "jit":
            shardings = (self.replicated, self.split)
            return jax.jit(step, in_shardings=shardings, out_shardings=self.split)

        def gathered_step(variables: Any, batch: Any) -> Any:
            return step(jax.lax.with_sharding_constraint(variables, self.replicated), batch)

        return jax.jit(gathered_step, in_shardings=(None, self.split), out_shardings=self.split)

    def map_gather(self) -> Callable[..., dict[str, jax.Array]]:
        """Compiles `(table, rows) -> batch`: picks `rows["index"]` of each array in `table`.

        The table is `put_table`'s, the rows are this process's, on the host; what else they hold
        goes through to the batch.
        """
        gather = jax.jit(
            _pick, in_shardings=(self.replicated, self.split), out_shardings=self.split
        )
        if jax.process_count() > 1:
            return lambda table, rows: gather(table, self.put_batch(rows))
        # The call itself places arrays of the host, in a tenth of the time of device_put.
        return lambda table, rows: gather(table, {n: self._rows(x) for n, x in rows.items()})

    def put_table(self, table: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """Copies whole arrays to every device, whatever the mapping."""
        return {name: _place(x, self.replicated) for name, x in table.items()}


def make_mapping(
    kind: Kind = "jit", devices: Sequence[jax.Device] | None = None, *, limit: int | None = None
) -> DeviceMapping:
    """The mapping over `devices` (default: all), or over the first `limit` of them.

    Raises:
      ValueError: for an unknown kind, more devices than there are, pmap on several processes, or
        a process that is left without a device.
    """
    if kind not in ("jit", "pmap", "fsdp"):
        raise ValueError(f"mapping={kind!r} is unknown; use 'jit', 'fsdp' or 'pmap'.")
    if kind == "pmap" and jax.process_count() > 1:
        raise ValueError(
            f"mapping='pmap' runs in one process, and here are {jax.process_count()}; use 'jit'."
        )
    found = list(jax.devices()) if devices is None else list(devices)
    if limit is not None:
        if not 1 <= limit <= len(found):
            raise ValueError(
                f"num_devices={limit}, but there are {len(found)}; use at most that many."
            )
        found = found[:limit]
    shares = collections.Counter(d.process_index for d in found)
    if len(shares) < jax.process_count() or len(set(shares.values())) > 1:
        raise ValueError(
            f"{len(found)} devices don't give each of {jax.process_count()} processes the same "
            "number; leave num_devices out."
        )
    return DeviceMapping(kind, tuple(found))


def sum_over_processes(count: int) -> int:
    """The sum of a number that each process counts on its own; all must call it."""
    if jax.process_count() == 1:
        return count
    from jax.experimental import multihost_utils

    return int(np.sum(multihost_utils.process_allgather(np.int32(count))))


def _pick(table: dict[str, jax.Array], rows: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Picks `rows["index"]` of each array in `table`; what else `rows` holds goes through."""
    # Indices are never outside; the default would look at each and mask what it took.
    picked = {n: jnp.take(x, rows["index"], axis=0, mode="clip") for n, x in table.items()}
    return picked | rows


def _put(x: Any, sharding: NamedSharding) -> jax.Array:
    """Joins the rows of all processes."""
    if jax.process_count() > 1:
        return jax.make_array_from_process_local_data(sharding, np.asarray(x))
    return jax.device_put(x, sharding)


def _place(x: Any, sharding: NamedSharding) -> jax.Array:
    """Cuts an array that every process holds whole."""
    if jax.process_count() == 1 or getattr(x, "sharding", None) == sharding:
        return jax.device_put(x, sharding)
    if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        data = _place(jax.random.key_data(x), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
    host = np.asarray(x)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def _first(x: jax.Array) -> jax.Array:
    # One device's copy without its leading axis, read without a transfer between devices.
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_first(jax.random.key_data(x)), impl=jax.random.key_impl(x))
    return x.addressable_shards[0].data[0]
