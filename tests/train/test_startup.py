"""The cache of compiled programs is used and put back; the process knows its age."""

from __future__ import annotations

import subprocess
import sys
import time

import jax
import jax.numpy as jnp

from jaxcnn.train.startup import compiled_programs_in, seconds_since_start


def test_compiled_programs_are_kept_in_the_folder_and_the_setting_is_put_back(tmp_path):
    before = jax.config.jax_compilation_cache_dir
    least = jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    try:
        with compiled_programs_in(str(tmp_path / "cache")):
            x = jnp.arange(7.0)
            assert float(jax.jit(lambda x: jnp.sin(x).sum() * 41.5)(x)) != 0
            assert jax.config.jax_compilation_cache_dir == str(tmp_path / "cache")
        assert any((tmp_path / "cache").iterdir())
    finally:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", least)
    assert jax.config.jax_compilation_cache_dir == before
    with compiled_programs_in(None):
        assert jax.config.jax_compilation_cache_dir == before


def test_the_age_of_a_process_counts_from_its_start():
    program = (
        "import importlib.util, time; time.sleep(1.0)\n"
        "from jaxcnn.train.startup import seconds_since_start; print(seconds_since_start())"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    if done.stdout.strip() == "None":
        assert not sys.platform.startswith("linux")
        return
    assert 1.0 <= float(done.stdout) <= time.monotonic() - started + 0.1
    own = seconds_since_start()
    assert own is not None and own > 0
