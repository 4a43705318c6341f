# SPDX-License-Identifier: AGPL-3.0-or-later
"""Networks with random weights everywhere, pruning in one call, and a mask that knows nothing of indices downstream."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn


def modules(*names: str, package: str = "pruning") -> SimpleNamespace:
    """Modules of the engine by their own names: `modules("planning.plan run.loop").plan`."""
    every = " ".join(names).split()
    return SimpleNamespace(**{name.rpartition(".")[2]: importlib.import_module(f"{package}.{name}") for name in every})


TASKS = {"-seg": "SegmentationModel", "-pose": "PoseModel", "-obb": "OBBModel", "-cls": "ClassificationModel"}


class Toy(nn.Module):
    """All kinds of coupling and two outputs: (1, 3, 16, 16) -> (1, 5, 16, 16) and (1, 4)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.left = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.deep = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, groups=16, bias=False), nn.BatchNorm2d(16), nn.SiLU())
        self.wide = nn.Sequential(nn.Conv2d(16, 24, 1, bias=False), nn.BatchNorm2d(24), nn.SiLU())
        self.pool, self.up = nn.MaxPool2d(2), nn.Upsample(scale_factor=2)
        self.grow = nn.ConvTranspose2d(24, 12, 2, 2)
        self.out = nn.Conv2d(16 + 24 + 12, 5, 1)
        self.mean, self.hidden, self.score = nn.AdaptiveAvgPool2d(1), nn.Linear(24, 20), nn.Linear(20, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x)
        x = x + self.left(x)
        wide = self.wide(self.pool(self.deep(x)))
        out = self.out(torch.cat([x, self.up(wide), self.grow(wide)], 1))
        return out, self.score(torch.relu(self.hidden(self.mean(wide).flatten(1))))


OUTPUTS = {"out": "output", "score": "output"}


def toy(seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Toy, Tensor]:
    """A toy with random statistics, and an image for it."""
    torch.manual_seed(seed)
    model = Toy().to(dtype).eval()
    randomise(model, seed)
    return model, torch.randn(1, 3, 16, 16, dtype=dtype)


class ToyFamily:
    """A family of `Toy`, from any best.pt; what its validator finds is the test's."""

    name, rules, ranked = "toy", (), False

    def check_data(self, weights: Path) -> None:
        """Any data will do."""

    def load(self, weights: Path) -> nn.Module:
        """A fresh network for best.pt."""
        return toy()[0] if weights.name == "best.pt" else torch.load(weights, weights_only=False)

    def example(self, model: nn.Module) -> Tensor:
        """The toy's image."""
        return toy()[1]

    def ignored(self, model: nn.Module) -> dict[str, str]:
        """Its outputs."""
        return dict(OUTPUTS)

    def dropped(self, model: nn.Module) -> tuple[str, ...]:
        """Nothing is left out where it is deployed."""
        return ()

    def tracing(self, model: nn.Module) -> Any:
        """As it is."""
        return contextlib.nullcontext()

    def losses(self, model: nn.Module) -> Iterator[Tensor]:
        """One batch."""
        yield model(toy()[1])[0].sum()

    def save(self, model: nn.Module, source: Path, target: Path) -> None:
        """The network alone."""
        torch.save(model, target)

    def write_yaml(self, weights: Path, target: Path) -> None:
        """A file that stands for it."""
        target.write_text("nc: 1\n")

    def finetune(self, weights: Path, folder: Path, **more: Any) -> Path:
        """Nothing is learned."""
        return weights

    def gains(self, weights: Path) -> dict[str, float]:
        """No weights of losses."""
        return {}

    def arguments(self) -> dict[str, Any]:
        """Upstream's."""
        return {"data": "toys.yaml", "imgsz": 16}


def build(kit: SimpleNamespace, name: str, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Module:
    """An upstream model such as yolov8n-seg, random weights, statistics and biases, in eval mode."""
    kind = next((kind for suffix, kind in TASKS.items() if suffix in name), "DetectionModel")
    kit.tasks.Conv.default_act = nn.SiLU()  # a YAML's `activation:` (yolov6) sets it for all networks after
    torch.manual_seed(seed)
    model = getattr(kit.tasks, kind)(f"{name}.yaml", verbose=False)
    randomise(model, seed)
    return model.to(dtype).eval()


def randomise(model: nn.Module, seed: int = 0) -> None:
    """Random BatchNorm weights and statistics and small random biases: fresh ones would hide wrong indices."""
    generator = torch.Generator().manual_seed(seed)

    def fill(tensor: Tensor, low: float, high: float) -> None:
        with torch.no_grad():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            fill(module.running_mean, -0.4, 0.4)
            fill(module.running_var, 0.4, 1.6)
            fill(module.weight, 0.4, 1.8)
        if getattr(module, "bias", None) is not None and isinstance(module.bias, Tensor):
            fill(module.bias, -0.3, 0.3)


def image(size: int = 64, dtype: torch.dtype = torch.float64) -> Tensor:
    """One random image, (1, 3, size, size)."""
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(7), dtype=dtype)


def graph_of(
    kit: SimpleNamespace,
    model: nn.Module,
    mode: str = "outputs",
    *,
    x: Tensor | None = None,
    ties: bool = True,
    attention: str | None = None,
) -> Any:
    """Split the blocks of `model` and build its graph."""
    rules = kit.blocks.RULES
    kit.surgery.split_blocks(model, rules)
    ignored = kit.blocks.ignored_layers(model, mode, attention)
    forward, example = kit.blocks.trace_forward, image() if x is None else x
    return kit.graph.PruningGraph.build(model, example, forward=forward, ignored=ignored, rules=rules if ties else ())


def masked(model: nn.Module, graph_groups: Any, plan: Any, scores: Mapping[str, Tensor]) -> nn.Module:
    """Silence in a dense `model`, in place, what `plan` removes.

    The output of each layer of a group (of its conv + bn + act block, where it is in one) gets zeros in the removed
    channels. Nothing here knows where those channels go.
    """
    layers = {group.name: group.layers for group in graph_groups}
    modules = dict(model.named_modules())
    for entry in plan.entries:
        removed = torch.argsort(scores[entry.name], stable=True)[: entry.channels - entry.keep]
        for name in layers[entry.name]:
            _block_of(modules, name).register_forward_hook(_silence(removed, entry.channels))
    return model


def _block_of(modules: Mapping[str, nn.Module], name: str) -> nn.Module:
    parent = modules[name.rpartition(".")[0]]
    own = getattr(parent, "conv", None) is modules[name] and getattr(parent, "bn", None) is not None
    in_row = isinstance(parent, nn.Sequential) and any(isinstance(m, nn.BatchNorm2d) for m in parent)
    return parent if own or in_row else modules[name]


def _silence(removed: Tensor, channels: int) -> Any:
    """Zeros in the removed of `channels`; a layer behind a concatenation has them several times over."""

    def hook(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        output = output.clone()
        for first in range(0, output.shape[1], channels):
            output[:, removed + first] = 0
        return output

    return hook


def tensors(output: Any) -> list[Tensor]:
    """All tensors of a nested output, in order."""
    if isinstance(output, Tensor):
        return [output]
    parts = output.values() if isinstance(output, dict) else output
    return [tensor for part in parts for tensor in tensors(part)] if isinstance(output, (dict, list, tuple)) else []


@torch.no_grad()
def all_outputs(kit: SimpleNamespace, model: nn.Module, x: Tensor) -> list[Tensor]:
    """Raw outputs of every branch, training-only and one-to-one ones too."""
    return tensors(kit.blocks.trace_forward(model, x))


def relative(found: list[Tensor], wanted: list[Tensor]) -> float:
    """Largest difference, relative to the largest value of the same output."""
    assert [tensor.shape for tensor in found] == [tensor.shape for tensor in wanted]
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, wanted, strict=True))


def keeps(graph: Any, ratio: float = 0.5) -> dict[str, int]:
    """torch-pruning's local widths for a ratio."""
    return {group.name: int(group.channels * (1 - ratio)) for group in graph.groups}


def pruned_and_closed(model: nn.Module, scopes: Sequence[str], step: Callable[[str], None]) -> tuple[Path, list[int]]:
    """Prune one time after another, then write the network's YAML: the file, and the parameters before each time."""
    from pruning.network.width_block import yaml_text

    sizes, file = [], Path("closed.yaml")
    for scope in scopes:
        sizes.append(sum(p.numel() for p in model.parameters()))
        step(scope)
    file.write_text(yaml_text(model.yaml))
    return file, sizes


def training_form(model: nn.Module, training: bool) -> nn.Module:
    """Training form of the head, or its form in use, with the norms as in evaluation."""
    model.eval()
    model.model[-1].training = training
    return model
