"""PyTorch's side: the same network, channels last, as its users run it."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import pathlib
import re
import resource
import time
from typing import Any

from jaxcnn.benchmark.case import Case

_CIFAR = re.compile(r"cifar_resnet(\d+)")


class Peer:
    """A network of torchvision, or a CIFAR ResNet, and its step; `run(n)` does n of them."""

    def __init__(self, case: Case, side: str) -> None:
        torch: Any = importlib.import_module("torch")
        self._torch, self._case = torch, case
        if case.cores:
            torch.set_num_threads(case.cores)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.manual_seed(0)
        started = time.perf_counter()
        model = _model(torch, case.model)
        layout = {"device": self._device, "memory_format": torch.channels_last}
        self._model = model.to(**layout).train(case.mode == "train")
        self._net = torch.compile(self._model) if side == "torch.compile" else self._model
        self._images = torch.randn(case.batch_size, 3, *case.size).to(**layout)
        self._labels = torch.arange(case.batch_size, device=self._device) % 10
        self._optimizer = torch.optim.SGD(
            self._model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4
        )
        self.run(1)
        self.facts: dict[str, Any] = {"compile_seconds": round(time.perf_counter() - started, 2)}

    def run(self, count: int) -> None:
        for _ in range(count):
            self._train() if self._case.mode == "train" else self._infer()
        if self._device == "cuda":
            self._torch.cuda.synchronize()

    def peak_bytes(self) -> dict[str, int]:
        """Most memory so far: of this process, and of the GPU."""
        peak = {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
        if self._device == "cuda":
            peak["device"] = self._torch.cuda.max_memory_allocated()
        return peak

    def _precision(self) -> Any:
        if self._case.dtype == "float32":
            return contextlib.nullcontext()
        return self._torch.autocast(self._device, self._torch.bfloat16)

    def _infer(self) -> None:
        with self._torch.no_grad(), self._precision():
            self._net(self._images)

    def _train(self) -> None:
        loss_of = self._torch.nn.functional.cross_entropy
        self._optimizer.zero_grad(set_to_none=True)
        with self._precision():
            out = self._net(self._images)
            # GoogLeNet gives its auxiliary logits too, weighted as in its paper.
            many = isinstance(out, tuple)
            loss = loss_of(out[0] if many else out, self._labels)
            for aux in out[1:] if many else ():
                loss = loss + 0.3 * loss_of(aux, self._labels)
        loss.backward()
        self._optimizer.step()


def _model(torch: Any, name: str) -> Any:
    if match := _CIFAR.fullmatch(name):
        return _cifar_resnet(torch, int(match[1]))
    found = getattr(_torchvision(torch).models, name, None)
    if found is None:
        raise ValueError(f"torchvision has no {name}; --against torch takes its names.")
    return found(weights=None, **({"init_weights": False} if name == "googlenet" else {}))


def _torchvision(torch: Any) -> Any:
    """torchvision, also where its compiled operators don't fit the build of torch.

    Networks need none of them, but the import registers shapes for their names: those that are
    not loaded are declared.
    """
    with contextlib.suppress(ImportError, RuntimeError, AttributeError):
        return importlib.import_module("torchvision")
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise ValueError("torchvision is not installed; pip install --no-deps torchvision.")
    source = (pathlib.Path(spec.origin).parent / "_meta_registrations.py").read_text()
    library = torch.library.Library("torchvision", "DEF")
    for name in sorted(set(re.findall(r'torchvision::(\w+)"|register_meta\("(\w+)"', source))):
        library.define(f"{name[0] or name[1]}(Tensor a) -> Tensor")
    _declared.append(library)
    return importlib.import_module("torchvision")


_declared: list[Any] = []  # A library that is collected takes its declarations with it.


def _cifar_resnet(torch: Any, depth: int) -> Any:
    """The network of He et al. 2015, section 4.2, with shortcuts that pad with zeros."""
    nn = torch.nn

    def layer(channels: int, width: int, stride: int) -> list[Any]:
        return [nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)]

    class Block(nn.Module):  # type: ignore[name-defined]
        def __init__(self, channels: int, width: int) -> None:
            super().__init__()
            self.extra, self.stride = width - channels, 1 + (width > channels)
            first = layer(channels, width, self.stride)
            self.body = nn.Sequential(*first, nn.ReLU(inplace=True), *layer(width, width, 1))

        def forward(self, x: Any) -> Any:
            y = self.body(x)
            if self.extra:
                x = x[:, :, :: self.stride, :: self.stride]
                x = nn.functional.pad(x, (0, 0, 0, 0, self.extra // 2, self.extra // 2))
            return torch.relu(y + x)

    widths = [w for w in (16, 32, 64) for _ in range((depth - 2) // 6)]
    blocks = [Block(c, w) for c, w in zip([16, *widths], widths, strict=False)]
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    return nn.Sequential(*layer(3, 16, 1), nn.ReLU(inplace=True), *blocks, *head)
