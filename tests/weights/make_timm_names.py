"""Rebuilds `goldens/timm_names.json`: digests of the names and shapes of timm's state dicts.

    python tests/weights/make_timm_names.py

Needs torch, torchvision and timm; no weights are made or downloaded.
"""

from __future__ import annotations

import json

import make_goldens
import recipe
import torch

NETWORKS = (
    *(f"resnet{n}" for n in (18, 34, 50, 101, 152)),
    "resnext50_32x4d",
    "wide_resnet50_2",
    *(f"vgg{n}{bn}" for n in (11, 13, 16, 19) for bn in ("", "_bn")),
)


def main() -> None:
    _, library = make_goldens.torchvision_models()
    import timm

    digests = {"timm": timm.__version__}
    with torch.device("meta"):
        for name in NETWORKS:
            net = timm.create_model(name, pretrained=False)
            digests[name] = recipe.digest({k: tuple(v.shape) for k, v in net.state_dict().items()})
    path = make_goldens.HERE / "goldens" / "timm_names.json"
    path.write_text(json.dumps(digests, indent=1) + "\n")
    del library  # the operators that torchvision asks for live until here


if __name__ == "__main__":
    main()
