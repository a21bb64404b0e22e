"""Checkpoints: the newest and the best are kept, damage is noticed before it is used."""

from __future__ import annotations

import logging
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.train.checkpoint import Checkpoints, Position
from jaxcnn.train.manifest import DamagedCheckpoint, verify
from jaxcnn.train.state import TrainState


def _state(step: int) -> TrainState:
    return TrainState(
        step=jnp.array(step, jnp.int32),
        params={"kernel": jnp.full((64, 64), float(step))},
        batch_stats={},
        opt_state=(jnp.zeros(2),),
        ema=None,
        key=jax.random.key(step),
    )


def _position(step: int) -> Position:
    return Position(step, seed=0, num_examples=10, batch_size=2, fingerprint="f")


@pytest.fixture
def saved(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=3)
    for step in (1, 2, 3):
        checkpoints.save(_state(step), _position(step))
        checkpoints.wait()
    checkpoints.close()
    return tmp_path


def test_the_newest_and_the_best_are_kept_over_restarts(tmp_path):
    first = Checkpoints(tmp_path, keep=1)
    for step, score in ((1, 0.9), (2, None), (3, 0.5)):
        first.save(_state(step), _position(step), score)
    first.close()
    second = Checkpoints(tmp_path, keep=1)
    second.save(_state(4), _position(4), 0.6)
    second.wait()
    assert second.steps() == [1, 4]
    assert second.best_step() == 1
    restored = second.restore(1, _state(0))
    assert restored.score == 0.9 and restored.position == _position(1)
    np.testing.assert_array_equal(restored.state.params["kernel"], 1.0)
    assert jax.random.key_data(restored.state.key).tolist() == [0, 1]
    second.close()


def _files(folder):
    return [p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "MANIFEST.json"]


@pytest.mark.parametrize("damage", ["flip", "cut", "delete", "link", "empty", "no manifest"])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_it_used(saved, damage, caplog):
    newest = saved / "3"
    target = max(_files(newest), key=lambda p: p.stat().st_size)
    content = target.read_bytes()
    if damage == "flip":
        middle = len(content) // 2
        target.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    elif damage == "cut":
        target.write_bytes(content[:-1])
    elif damage == "delete":
        target.unlink()
    elif damage == "link":
        target.unlink()
        target.symlink_to("/etc/hostname")
    elif damage == "empty":
        target.write_bytes(b"")
    else:
        (newest / "MANIFEST.json").unlink()
    checkpoints = Checkpoints(saved, keep=3)
    with pytest.raises(DamagedCheckpoint):
        checkpoints.restore(3, _state(0))
    with caplog.at_level(logging.ERROR, logger="jaxcnn"):
        restored = checkpoints.restore_newest(_state(0))
    assert restored is not None and restored.position.step == 2
    assert "step 3 is damaged" in caplog.text
    assert (saved / "damaged-3").is_dir() and checkpoints.steps() == [1, 2]
    checkpoints.save(_state(3), _position(3))
    checkpoints.wait()
    np.testing.assert_array_equal(checkpoints.restore(3, _state(0)).state.params["kernel"], 3.0)
    checkpoints.close()


def _damage(target, how):
    content = target.read_bytes()
    target.unlink()
    if how == "flip":
        middle = len(content) // 2
        target.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    elif how == "cut":
        target.write_bytes(content[:-1])
    elif how == "link":
        copy = target.parent.parent / f"{target.name}.elsewhere"
        copy.write_bytes(content)
        target.symlink_to(copy)


def test_each_file_flipped_cut_missing_or_linked_is_found(saved, tmp_path_factory):
    """Every file of a checkpoint but the mark that Orbax writes last and nobody reads."""
    names = [p.relative_to(saved / "3") for p in (saved / "3").rglob("*") if p.is_file()]
    names = [name for name in names if str(name) != "commit_success.txt"]
    assert len(names) > 12
    for i, name in enumerate(names):
        for how in ("flip", "cut", "missing", "link"):
            copy = shutil.copytree(saved / "3", tmp_path_factory.mktemp(f"{i}{how}") / "3")
            verify(copy)
            _damage(copy / name, how)
            # A manifest whose bytes changed accuses another file than itself.
            named = None if name.name == "MANIFEST.json" else re.escape(name.name)
            with pytest.raises(DamagedCheckpoint, match=named):
                verify(copy)
    for name in ("commit_success.txt", "linked"):
        copy = shutil.copytree(saved / "3", tmp_path_factory.mktemp(name) / "3")
        (copy / name).unlink(missing_ok=True)
        (copy / name).symlink_to("/etc/hostname")
        with pytest.raises(DamagedCheckpoint, match="symbolic link"):
            verify(copy)


def test_an_empty_folder_has_nothing_to_restore(tmp_path):
    checkpoints = Checkpoints(tmp_path / "new")
    assert checkpoints.restore_newest(_state(0)) is None and checkpoints.best_step() is None
    checkpoints.close()
