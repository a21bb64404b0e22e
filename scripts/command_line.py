"""What the scripts share: errors and Ctrl-C as one line, and recipes by name."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import difflib
import errno
import importlib.util
import io
import logging
import os
import pathlib
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

RECIPES = pathlib.Path(__file__).resolve().parents[1] / "configs"

# What to do about a file that cannot be opened, by the system's number.
_REMEDIES = {
    errno.ENOENT: "check the path, and that its folder exists",
    errno.EISDIR: "name a file",
    errno.ENOTDIR: "a part of the path is a file; name another folder",
    errno.EEXIST: "a file has this name; name another folder",
    errno.EACCES: "choose a place that you may read and write",
    errno.EPERM: "choose a place that you may read and write",
    errno.EROFS: "choose a place that can be written to",
    errno.ENOSPC: "free some space, or choose another disk",
}


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, with the option that was meant."""

    def error(self, message: str) -> NoReturn:
        known = [option for action in self._actions for option in action.option_strings]
        words = message.split() if message.startswith("unrecognized") else []
        near = [m for w in words for m in difflib.get_close_matches(w, known, n=1)]
        hint = f"did you mean {near[0]}?" if near else "--help shows all arguments."
        raise ValueError(f"{message.rstrip('.')}; {hint}")


def run(main: Callable[[list[str]], int]) -> None:
    """Calls `main` with the arguments and exits with its code.

    What the user can mend (a wrong name, value or file) is one line on stderr and code 2; the
    rest is a bug, or another process's death, and keeps its traceback and code 1. Ctrl-C is one
    line and code 130; a second one, a second later or more, ends at once.
    """
    # Orbax logs pages about what it then raises, and what is raised is said in one line here.
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    try:
        with _Interrupts():
            code = main(sys.argv[1:])
    except (ValueError, FloatingPointError, OSError) as error:
        if several_processes() and "Gloo" in str(error):
            print(f"error: another process ended: {error}", file=sys.stderr)
            code = 1
        else:
            print(f"error: {said(error)}", file=sys.stderr)
            code = 2
    except Exception:
        traceback.print_exc()
        code = 1
    if code and several_processes():
        from jaxcnn import processes

        processes.abort(code)
    sys.exit(code)


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Around a script's slow imports: Ctrl-C ends them as it ends `run`."""
    heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if heard:
        signal.signal(signal.SIGINT, lambda number, frame: _end_interrupted())
    try:
        yield
    finally:
        if heard:
            signal.signal(signal.SIGINT, signal.default_int_handler)


class _Interrupts:
    """Once Ctrl-C came, leaving the block ends the process, with whatever result or error.

    The KeyboardInterrupt alone can get lost: compiled code makes other errors of it, and Python
    drops it in a callback of the garbage collector. What was dropped there is raised once more.
    """

    def __init__(self) -> None:
        self._noted: float | None = None
        # A job of the background ignores Ctrl-C.
        self._heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def __enter__(self) -> None:
        self._hook = sys.unraisablehook
        if self._heard:
            signal.signal(signal.SIGINT, self._note)
            sys.unraisablehook = self._raise_again

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._noted is not None or kind is KeyboardInterrupt:
            _end_interrupted()
        if self._heard:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            sys.unraisablehook = self._hook

    def _note(self, number: int, frame: object) -> None:
        if self._noted is None:
            self._noted = time.monotonic()
            raise KeyboardInterrupt
        # One Ctrl-C comes twice where a parent passes on what the terminal sent to both.
        if time.monotonic() - self._noted > 1:
            _end_interrupted()

    def _raise_again(self, dropped: Any) -> None:
        if dropped.exc_type is not KeyboardInterrupt:
            self._hook(dropped)
            return
        self._noted = None
        main = threading.main_thread().ident
        # Later, as it would be dropped again here.
        timer = threading.Timer(0.05, signal.pthread_kill, (main, signal.SIGINT))
        timer.daemon = True
        timer.start()


def _end_interrupted() -> NoReturn:
    """Ends without Python's own end, in which JAX's threads that still compute crash."""
    with contextlib.suppress(OSError, RuntimeError):  # a closed pipe; or in the midst of a print
        print("interrupted", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(130)


def said(error: Exception) -> str:
    """An error's text; of the system's own, the file first and what to do last."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        remedy = _REMEDIES.get(error.errno or 0)
        return f"{error.filename}: {error.strerror}" + (f"; {remedy}." if remedy else ".")
    return getattr(error, "summary", str(error))  # of weights, whose error has a line a mismatch


def add_process_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of a run on several processes: `start_processes` reads them."""
    group = parser.add_argument_group(
        "several processes",
        "SLURM, Open MPI and TPU pods are found by themselves;\nscripts/launch.py gives these for "
        "a try on one machine.",
    )
    group.add_argument("--coordinator", metavar="HOST:PORT", help="where process 0 listens")
    group.add_argument("--num-processes", type=int, metavar="N", help="of the run")
    group.add_argument("--process-id", type=int, metavar="I", help="of this process, from 0")
    group.add_argument("--bind", metavar="HOST", help="with a launcher: process 0's interface")
    group.add_argument(
        "--heartbeat-seconds",
        type=int,
        default=100,
        metavar="S",
        help="a process silent this long counts as dead (100)",
    )


def start_processes(options: argparse.Namespace) -> int:
    """Joins the other processes of the run, before JAX is used; gives their number."""
    from jaxcnn import processes

    names = ("coordinator", "num_processes", "process_id", "bind", "heartbeat_seconds")
    return processes.start(
        processes.ProcessOptions(**{name: getattr(options, name) for name in names})
    )


def several_processes() -> bool:
    """Whether `start_processes` joined others; asks nothing of JAX where it was not called."""
    jax = sys.modules.get("jax")
    return jax is not None and jax.distributed.is_initialized() and jax.process_count() > 1


def load_recipe(name: str):
    """The config of `configs/NAME.py`, or of a Python file of one's own that has `config()`."""
    path = pathlib.Path(name)
    if path.suffix != ".py":
        path = RECIPES / f"{name}.py"
    if not path.is_file():
        known = sorted(p.stem for p in RECIPES.glob("*.py"))
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        if name.endswith(".py"):
            raise ValueError(f"There is no file {name}; give a Python file that has config().")
        raise ValueError(f"There is no config {name!r}{hint}; there are {', '.join(known)}.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} cannot be imported.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "config"):
        raise ValueError(f"{path} has no function config() that returns a TrainConfig.")
    return module.config()


def parse_config(name: str, arguments: list[str], *, usage: str, description: str = ""):
    """A recipe with its fields as the command line gives them; an error is one line."""
    import tyro

    from jaxcnn.train import TrainConfig

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                TrainConfig,
                default=load_recipe(name),
                args=arguments,
                prog=usage,
                description=description,
            )
    except SystemExit as stop:
        if not stop.code:  # --help
            raise
        text = f"{_unboxed(said.getvalue())} train.py {name} --help shows all fields."
        raise ValueError(text) from None


def _unboxed(text: str) -> str:
    """tyro's frame around an error, with what it means and what was meant, as one line."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    lines = [line.strip("│ ") for line in text.splitlines() if line.startswith("│")]
    parts = re.split(r"─{5,}", "\n".join(lines))
    message = " ".join(parts[0].split("Got errors:")[0].split()).rstrip(".")
    message = re.sub("^Error parsing (TrainConfig: )?", "", message)
    near = [line for part in parts[1:] for line in part.split("\n") if line.startswith("--")]
    near = [line for line in near if line != "--help"]
    if not lines:
        return " ".join(text.split())
    if "Perhaps you meant" in text and near:
        return f"{message}; did you mean {' or '.join(line.split()[0] for line in near)}?"
    return f"{message}; write {near[0]}." if near else f"{message}."


def add_network_arguments(parser: argparse.ArgumentParser, *, many: bool = False) -> None:
    """The arguments that name a network with its weights: `load_network` reads them."""
    what = "a run's folder, a .safetensors or .npz file, or hf://OWNER/NAME"
    parser.add_argument("network", nargs="+" if many else None, metavar="RUN_OR_WEIGHTS", help=what)
    parser.add_argument("--model", help="the network's name, where weights don't say it")
    parser.add_argument(
        "--checkpoint", default="last", help="of a run: last, best or a step (last)"
    )
    parser.add_argument(
        "--class-names", metavar="FILE", help="names of the classes, one a line, for bare weights"
    )


def load_network(options: argparse.Namespace, source: str | None = None, which: str | None = None):
    """What `add_network_arguments` asked for; `source` and `which` checkpoint pick one of many."""
    from jaxcnn import load_network as load
    from jaxcnn.data.folder import EXTENSIONS

    name = options.network if source is None else source
    if pathlib.Path(name).suffix.lower() in EXTENSIONS:
        raise ValueError(f"{name} is an image; the network (RUN_OR_WEIGHTS) comes before images.")
    network = load(name, options.model, checkpoint=checkpoint(which or options.checkpoint))
    if options.class_names is None:
        return network
    from jaxcnn.train import with_class_names

    return with_class_names(network, options.class_names)


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that name what a network is judged on: `open_data` reads them."""
    parser.add_argument("--dataset", help="default: the run's")
    parser.add_argument("--split", help="default: the run's evaluation split, or the test split")
    parser.add_argument("--data-dir", help="where TFDS datasets lie")
    parser.add_argument("--batch-size", type=int, default=256, help="over all devices (256)")
    parser.add_argument("--threads", type=int, default=8, help="that decode images (8)")
    parser.add_argument("--max-bad", type=int, default=0, help="undecodable images left out (0)")


def check_data_arguments(options: argparse.Namespace) -> None:
    """Raises ValueError for numbers that cannot work."""
    for name, least in (("batch_size", 1), ("threads", 1), ("max_bad", 0)):
        check_at_least(options, name, least)


def open_data(options: argparse.Namespace, network):
    """The source that `add_data_arguments` asked for; of a run its own evaluation split."""
    from jaxcnn.data import open_eval_source

    data = network.config.data if network.config is not None else None
    dataset = options.dataset or (data and data.dataset)
    if not dataset:
        raise ValueError(f"{network.source} is no run, so it needs data: give --dataset NAME.")
    own = data is not None and dataset == data.dataset
    split = options.split or (data.eval_split if own else None)
    folder = options.data_dir or (data.data_dir if own else None)
    return open_eval_source(dataset, split, data_dir=folder)


def open_photos(options: argparse.Namespace, network):
    """The source whose photos are shown: `--dataset`, or a run's own; None where there is neither.

    Reads `--dataset`, `--split` and `--data-dir`.
    """
    from jaxcnn.data import open_source

    data = network.config.data if network.config is not None else None
    dataset = options.dataset or (data and data.dataset)
    if not dataset:
        return None
    own = data is not None and dataset == data.dataset
    split = options.split or (data.eval_split if own else "test")
    folder = options.data_dir or (data.data_dir if own else None)
    return open_source(dataset, split, data_dir=folder)


def add_probe_arguments(parser: argparse.ArgumentParser, *, eval_help: str) -> None:
    """A network, and the data that a classifier on its features is fitted to."""
    add_network_arguments(parser)
    parser.add_argument("--dataset", required=True, help="a TFDS name, folder:PATH, or digits")
    parser.add_argument("--train-split", default="train", help="default: train")
    parser.add_argument("--eval-split", default="test", help=eval_help)
    parser.add_argument("--data-dir", help="where TFDS datasets lie")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (0)")
    parser.add_argument("--batch-size", type=int, default=256, help="of the features (256)")
    parser.add_argument("--json", type=pathlib.Path, help="write what was found to this file")


def open_train_split(options: argparse.Namespace):
    """The training split that `add_probe_arguments` asked for, its labels checked."""
    from jaxcnn.data import check_source, open_source

    source = open_source(options.dataset, options.train_split, data_dir=options.data_dir)
    check_source(source, num_classes=len(source.class_names), batch_size=1)
    return source


def check_at_least(options: argparse.Namespace, name: str, least: int) -> None:
    """Raises ValueError if a number among the arguments is too small."""
    value = getattr(options, name)
    if value < least:
        raise ValueError(f"--{name.replace('_', '-')} {value} must be at least {least}.")


def add_resize_argument(parser: Any) -> None:
    """How photos of one's own get the network's size: `resized` reads it."""
    ways = ("shorter", "squash", "none")
    parser.add_argument("--resize", choices=ways, help="photos to the network's size (its own way)")


def resized(network, options: argparse.Namespace):
    """The network, with the way of resizing that was asked for."""
    if options.resize is None:
        return network
    preprocess = dataclasses.replace(network.preprocess, resize=options.resize)
    return dataclasses.replace(network, preprocess=preprocess)


def read_photos(paths: list[pathlib.Path], preprocess):
    """Image files as a network takes them, uint8 [N, H, W, C], or None; an error names the file."""
    import numpy as np

    from jaxcnn.data import prepare_image

    photos = []
    for path in paths:
        try:
            photos.append(prepare_image(path.read_bytes(), preprocess))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    return np.stack(photos) if photos else None


def image_size(text: str) -> int | tuple[int, int]:
    """224, or 224x160 as height x width."""
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; give 224, or 224x160.")
    numbers = [int(part) for part in parts]
    return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])


def checkpoint(text: str) -> str | int:
    """`last`, `best`, or a step."""
    if text in ("last", "best"):
        return text
    if not text.isdigit():
        raise ValueError(f"--checkpoint {text!r}: give last, best, or a step.")
    return int(text)
