"""One process of a run on several, with a fault in process 1 before its sixth step.

PYTHONPATH=scripts python several.py WORKDIR FAULT [--mapping KIND] --coordinator ...
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import pathlib
import signal
import time

import command_line
import jax

from jaxcnn.train import DataConfig, OptimizerConfig, TrainConfig, fit, steps


def config() -> TrainConfig:
    return TrainConfig(
        model="small_cnn",
        data=DataConfig(pad_crop=1),
        optimizer=OptimizerConfig(learning_rate=0.05, schedule="constant"),
        batch_size=64,
        length=steps(12),
        eval_every=steps(6),
        checkpoint_every=steps(4),
        log_every=steps(1),
        ema=0.9,
        figures=False,
    )


def end(fault: str) -> None:
    if fault == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault == "raise":
        raise ValueError("a fault of this process alone")
    elif fault == "hang":
        time.sleep(600)
    elif fault in ("SIGTERM", "SIGINT"):
        os.kill(os.getpid(), signal.Signals[fault])
        # Any thread may get it; Python answers in this one.
        time.sleep(0.5)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("workdir", type=pathlib.Path)
    parser.add_argument("fault")
    parser.add_argument("--mapping", default="jit")
    parser.add_argument("--watchdog", type=float, default=0.0)
    command_line.add_process_arguments(parser)
    options = parser.parse_args(arguments)
    command_line.start_processes(options)

    def on_batch(step: int, _: object) -> None:
        if step == 5 and jax.process_index() == 1:
            print("FAULT", time.time(), flush=True)
            end(options.fault)

    wanted = dataclasses.replace(
        config(), mapping=options.mapping, watchdog_seconds=options.watchdog
    )
    result = fit(wanted, options.workdir, on_batch=on_batch)
    print("RESULT", result.status, result.step, flush=True)
    return 130 if result.signal == "SIGINT" else 0


if __name__ == "__main__":
    command_line.run(main)
