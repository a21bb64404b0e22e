"""Rebuilds `goldens/` from torchvision's networks, in float64.

    python tests/weights/make_goldens.py

Needs torch 2.13 and torchvision 0.28 (a CPU build of torch may lack torchvision's compiled
operators: they are declared here, and none of these networks calls one). Each network's file holds
the digest of its state dict's names and shapes, every 4th logit, and traces of its taps.
"""

from __future__ import annotations

import functools
import importlib.util
import pathlib
import re
import sys

import numpy as np
import torch

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))
import recipe  # noqa: E402

_RESNET_TAPS = {"stem": "relu", **{f"stage{i}": f"layer{i}" for i in (1, 2, 3, 4)}}
_GOOGLENET_TAPS = {
    "stem": "conv1",
    "stage1": "conv3",
    "stage2": "inception3b",
    "stage3": "inception4e",
    "stage4": "inception5b",
}
# The modules at the taps; those of VGG follow from its layers.
NETWORKS: dict[str, dict[str, str]] = {
    "alexnet": {"stem": "features.1", "stage1": "features.4", "stage2": "features.11"},
    "googlenet": _GOOGLENET_TAPS,
    **{f"vgg{n}{bn}": {} for n in (11, 13, 16, 19) for bn in ("", "_bn")},
    **{f"resnet{n}": _RESNET_TAPS for n in (18, 34, 50, 101, 152)},
    "resnext50_32x4d": _RESNET_TAPS,
    "wide_resnet50_2": _RESNET_TAPS,
}


@functools.cache
def torchvision_models():
    origin = pathlib.Path(importlib.util.find_spec("torch").origin)
    source = origin.parents[1] / "torchvision" / "_meta_registrations.py"
    library = torch.library.Library("torchvision", "DEF")
    pattern = r'register_(?:fake|meta)\("(?:torchvision::)?(\w+)"'
    for name in set(re.findall(pattern, source.read_text())):
        library.define(f"{name}(Tensor a) -> Tensor")
    import torchvision

    return torchvision.models, library  # the declarations live as long as the library


def build(name: str) -> torch.nn.Module:
    extra = {"aux_logits": True, "init_weights": False} if name == "googlenet" else {}
    net = getattr(torchvision_models()[0], name)(weights=None, **extra)
    weights = {k: torch.from_numpy(recipe.tensor(k, v.shape)) for k, v in net.state_dict().items()}
    net.load_state_dict(weights)
    return net.double()


def vgg_taps(net: torch.nn.Module) -> dict[str, str]:
    """The ReLU before each pooling ends a stage; the first of all ends the stem."""
    layers = list(net.features)
    relus = [i for i, m in enumerate(layers) if isinstance(m, torch.nn.ReLU)]
    ends = [i - 1 for i, m in enumerate(layers) if isinstance(m, torch.nn.MaxPool2d)]
    stages = {f"stage{n}": f"features.{i}" for n, i in enumerate(ends, 1)}
    return {"stem": f"features.{relus[0]}", **stages}


def golden(name: str) -> dict[str, np.ndarray]:
    net = build(name).eval()
    shapes = {k: tuple(v.shape) for k, v in net.state_dict().items()}
    found: dict[str, np.ndarray] = {}
    taps = NETWORKS[name] or vgg_taps(net)
    modules = dict(net.named_modules())

    def record(tap: str):
        def hook(module, inputs, output):
            # A ReLU that is called at several places: the first call is the tap.
            found.setdefault(f"tap_{tap}", recipe.pooled(output.detach().numpy().copy()))

        return hook

    for tap, module in taps.items():
        modules[module].register_forward_hook(record(tap))
    with torch.no_grad():
        logits = net(torch.from_numpy(recipe.images(224)).double()).numpy()
    result = {"logits": logits[:, ::4], **found}
    result = {k: v.astype(np.float32) for k, v in result.items()}
    return result | {"digest": np.array(recipe.digest(shapes))}


def trajectory() -> dict[str, np.ndarray]:
    """Six steps of SGD on ResNet-18, then what evaluation gives."""
    net = build("resnet18").train()
    x, y = (torch.from_numpy(a) for a in recipe.training_batch())
    optimizer = torch.optim.SGD(net.parameters(), lr=0.002, momentum=0.9, weight_decay=0.01)
    losses = []
    for _ in range(6):
        loss = torch.nn.functional.cross_entropy(net(x), y)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        logits = net.eval()(x).numpy()
    return {
        "losses": np.array(losses),
        "eval_logits": logits[:, ::16].astype(np.float32),
        "bn1_running_mean": net.bn1.running_mean.numpy().astype(np.float32),
        "bn1_running_var": net.bn1.running_var.numpy().astype(np.float32),
        "fc_bias": net.fc.bias.detach().numpy()[::16].astype(np.float32),
    }


def main() -> None:
    (HERE / "goldens").mkdir(exist_ok=True)
    for name in NETWORKS:
        np.savez(HERE / "goldens" / f"{name}.npz", **golden(name))
        print(name, flush=True)
    np.savez(HERE / "goldens" / "trajectory_resnet18.npz", **trajectory())


if __name__ == "__main__":
    main()
