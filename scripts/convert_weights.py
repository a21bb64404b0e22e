"""Convert a file of weights: a PyTorch checkpoint, safetensors or npz, to safetensors or npz.

python scripts/convert_weights.py resnet50.pth resnet50.safetensors --model resnet50
python scripts/convert_weights.py hf://timm/vgg16.tv_in1k vgg16.npz --model vgg16 --to torch

A .pth, .pt, .th, .bin, .ckpt or .tar holds a pickle. It is opened here and nowhere else, by
torch.load with weights_only=True, which needs PyTorch. With --model all names and shapes
are checked.
"""

from __future__ import annotations

import argparse
import ast
import pathlib
from typing import Any

import command_line

# Where training scripts put the state dict in what they save.
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net")


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    if options.to and not options.model:
        raise ValueError("--to needs --model, whose names it means.")
    if options.target.exists() and not options.force:
        raise ValueError(f"{options.target} exists; --force writes over it.")

    from jaxcnn.models import create_model
    from jaxcnn.weights import describe, from_torch, read, to_torch, write
    from jaxcnn.weights.files import PICKLES

    if pathlib.Path(options.source).suffix in PICKLES:
        arrays = read_checkpoint(pathlib.Path(options.source), options.key)
    else:
        arrays = read(describe(options.source).path)
    arrays = strip(arrays, options.strip)
    if options.model:
        model = create_model(options.model, **dict(options.set or ()))
        size = options.image_size
        variables = from_torch(
            arrays, model, image_size=size, keep_counters=True, ignore=options.ignore
        )
        arrays = to_torch(variables, model, naming=options.to or "torch", image_size=size)
    write(options.target, arrays)
    written = describe(options.target)
    size = written.path.stat().st_size
    print(f"{written.path}: {len(arrays)} arrays, {size:,} bytes, SHA-256 {written.sha256}")
    return 0


def parser() -> argparse.ArgumentParser:
    parse = command_line.Parser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parse.add_argument("source", metavar="SOURCE", help="a file, a folder or hf://OWNER/NAME")
    parse.add_argument("target", metavar="TARGET", type=pathlib.Path, help=".safetensors or .npz")
    parse.add_argument("--model", help="the network: checks every name and shape")
    parse.add_argument(
        "--set",
        action="append",
        type=field,
        metavar="FIELD=VALUE",
        help="a field of the network, such as num_classes=10 or aux_heads=False; may be repeated",
    )
    parse.add_argument(
        "--image-size",
        type=command_line.image_size,
        metavar="N or HxW",
        help="with --model: of the images that the weights are for (mlp, lenet5); the network's",
    )
    parse.add_argument(
        "--to",
        metavar="NAMING",
        help="names to write: torch, timm (where its names are others) or jaxcnn; torch with "
        "--model, else as they are",
    )
    parse.add_argument(
        "--ignore",
        action="append",
        default=[],
        metavar="PATTERN",
        help="with --model: keys to leave out, as a shell pattern; may be repeated",
    )
    parse.add_argument("--key", help="the entry of a checkpoint that holds the weights")
    parse.add_argument("--strip", default="", metavar="PREFIX", help="take this off every name")
    parse.add_argument("--force", action="store_true", help="write over TARGET")
    return parse


def field(text: str) -> tuple[str, Any]:
    """`num_classes=10` as a name and a Python literal."""
    name, _, value = text.partition("=")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError) as error:
        raise argparse.ArgumentTypeError(
            f"{text!r}: give FIELD=VALUE, a number or True."
        ) from error


def strip(arrays: dict[str, Any], prefix: str) -> dict[str, Any]:
    others = [name for name in arrays if not name.startswith(prefix)]
    if others:
        raise ValueError(f"--strip {prefix}: {others[0]!r} does not start with it.")
    return {name.removeprefix(prefix): value for name, value in arrays.items()}


def read_checkpoint(path: pathlib.Path, key: str | None) -> dict[str, Any]:
    """The tensors of a checkpoint as numpy arrays; code in it is never run."""
    if not path.is_file():
        raise ValueError(f"{path} is no file.")
    try:
        import torch
    except ImportError as error:
        raise ValueError(
            f"{path} is a PyTorch checkpoint: install torch to convert it, or take a .safetensors."
        ) from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # UnpicklingError, RuntimeError, EOFError, KeyError, ...
        # PyTorch's own text on objects tells how to open them all the same.
        objects = type(error).__name__ == "UnpicklingError"
        reason = "" if objects else f" ({str(error).partition(chr(10))[0]})"
        raise ValueError(
            f"{path} is damaged, or holds more than tensors, which could run code: save "
            f"model.state_dict() instead.{reason}"
        ) from error
    if key is None and isinstance(content, dict):
        found = [name for name in WRAPPERS if isinstance(content.get(name), dict)]
        key = found[0] if len(found) == 1 else None
    if key is not None:
        if not isinstance(content, dict) or not isinstance(content.get(key), dict):
            raise ValueError(f"{path} has no weights under --key {key}; it holds {_keys(content)}.")
        content = content[key]
    if not isinstance(content, dict) or not all(torch.is_tensor(v) for v in content.values()):
        raise ValueError(f"{path} is no state dict; name the entry by --key: {_keys(content)}.")
    return {name: to_numpy(tensor) for name, tensor in content.items()}


def _keys(content: Any) -> str:
    if not isinstance(content, dict):
        return type(content).__name__
    shown = ", ".join(map(str, list(content)[:8]))
    return shown + (", ..." if len(content) > 8 else "")


def to_numpy(tensor: Any) -> Any:
    """The values; bfloat16 becomes float32, which holds them exactly."""
    if tensor.is_sparse or tensor.is_quantized:
        raise ValueError("The checkpoint has sparse or quantized tensors; convert it to float32.")
    tensor = tensor.detach()
    return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()


if __name__ == "__main__":
    command_line.run(main)
