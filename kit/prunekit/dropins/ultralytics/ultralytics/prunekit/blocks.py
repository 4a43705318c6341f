# SPDX-License-Identifier: AGPL-3.0-or-later
"""What pruning must know of ultralytics' blocks: twins for surgery, layers to keep, how to trace.

The twins live only while a model is pruned. They never reach a checkpoint: `merge_blocks` puts the stock classes back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.nn.modules.block import C2, C3, DFL, C2f, Proto, RepNCSPELAN4
from ultralytics.nn.modules.conv import Conv
from ultralytics.nn.modules.head import Classify, Detect
from ultralytics.prunekit.padding import equalise
from ultralytics.prunekit.releases import (
    C2PSA,
    PSA,
    A2C2f,
    AAttn,
    Attention,
    C2fCIB,
    C2fPSA,
    C3k2,
    PSABlock,
    RealNVP,
)
from ultralytics.pruning.errors import PruneError
from ultralytics.pruning.family.contract import Network
from ultralytics.pruning.network.surgery import SwapRule, halved, join, recast, swap_modules


class _Split(nn.Module):
    """The layers of a twin are those of the stock block, which `recast` puts there."""

    cv0: Any
    cv1: Any
    cv2: Any
    cv3: Any
    cv4: Any
    m: Any
    attn: Any
    ffn: Any


class SplitC2f(_Split):
    """C2f, C3k2, C2fCIB or C2fPSA with a convolution for each half. Shapes as there: (n, c1, h, w) -> (n, c2, h, w)."""

    def forward(self, x: Tensor) -> Tensor:
        """Each block of `m` works on the output of the one before, the first on the second half."""
        parts = [self.cv0(x), self.cv1(x)]
        parts.extend(block(parts[-1]) for block in self.m)
        return self.cv2(torch.cat(parts, 1))


class SplitC2PSA(_Split):
    """C2PSA with a convolution for each half: (n, c1, h, w) -> (n, c1, h, w)."""

    def forward(self, x: Tensor) -> Tensor:
        """Attention on the second half, the first passes by."""
        return self.cv2(torch.cat((self.cv0(x), self.m(self.cv1(x))), 1))


class SplitPSA(_Split):
    """PSA (YOLOv10) with a convolution for each half: (n, c1, h, w) -> (n, c1, h, w)."""

    def forward(self, x: Tensor) -> Tensor:
        """Residual attention and feed-forward on the second half, the first passes by."""
        b = self.cv1(x)
        b = b + self.attn(b)
        b = b + self.ffn(b)
        return self.cv2(torch.cat((self.cv0(x), b), 1))


class SplitC2(_Split):
    """C2 (the P6 networks) with a convolution for each half: (n, c1, h, w) -> (n, c2, h, w)."""

    def forward(self, x: Tensor) -> Tensor:
        """The blocks on the first half, the second passes by."""
        return self.cv2(torch.cat((self.m(self.cv0(x)), self.cv1(x)), 1))


class SplitELAN(_Split):
    """RepNCSPELAN4 or ELAN1 (YOLOv9) with a convolution for each half: (n, c1, h, w) -> (n, c2, h, w)."""

    def forward(self, x: Tensor) -> Tensor:
        """Two blocks, one after the other, on the second half."""
        parts = [self.cv0(x), self.cv1(x)]
        parts.extend(block(parts[-1]) for block in (self.cv2, self.cv3))
        return self.cv4(torch.cat(parts, 1))


_TWINS: Mapping[type, type] = {
    C2: SplitC2,
    RepNCSPELAN4: SplitELAN,
    C2f: SplitC2f,
    C3k2: SplitC2f,
    C2fCIB: SplitC2f,
    C2fPSA: SplitC2f,
    C2PSA: SplitC2PSA,
    PSA: SplitPSA,
}


# Blocks whose number of bottlenecks is the `n` of their row, and the convolution that reads what they give.
_READERS: Mapping[type, str] = {
    C2: "cv2.conv",
    C2f: "cv2.conv",
    C3: "cv3.conv",
    C3k2: "cv2.conv",
    C2fCIB: "cv2.conv",
    C2fPSA: "cv2.conv",
    C2PSA: "cv2.conv",
    A2C2f: "cv2.conv",
}


def stacks(layers: Iterable[Network], prefix: str = "model.") -> dict[str, str]:
    """{name: its reader's name in it} of the rows that repeat a bottleneck."""
    return {f"{prefix}{at}": _READERS[type(layer)] for at, layer in enumerate(layers) if type(layer) in _READERS}


def merge_block(block: Network) -> Network:
    """The stock block of a twin. Unequal halves (foreign checkpoints) are padded with silent channels first.

    Raises:
        PruneError: the smaller half cannot be padded.
    """
    equalise(block)
    rest = {name: child for name, child in block._modules.items() if name not in ("cv0", "cv1")}
    whole: Network = recast(block, block.stock, {"cv1": join(block.cv0, block.cv1), **rest})
    del whole.stock
    whole.c = whole.cv1.conv.out_channels // 2
    return whole


RULES: tuple[SwapRule, ...] = tuple(halved(stock, twin, merge=merge_block) for stock, twin in _TWINS.items())


def merge_split_blocks(model: Network) -> int:
    """Merge the split blocks of published scripts (`C2f_v2` and its like: cv0, cv1, cv2, m) to stock, in place.

    Returns how many. Each merged block is compared with its original on random input.

    Raises:
        PruneError: a block that no stock class can hold, or that computes something else.
    """
    foreign = {type(module) for module in model.modules() if _is_foreign(module)}
    return swap_modules(model, dict.fromkeys(foreign, _merge_foreign))


def _is_foreign(module: Network) -> bool:
    return type(module) not in _TWINS.values() and {"cv0", "cv1", "cv2", "m"} <= set(module._modules)


def _merge_foreign(block: Network) -> Network:
    before = _probe(block)
    block.stock = _stock_of(block)
    whole = merge_block(block)
    after = _probe(whole)
    if before is not None and after is not None and not torch.allclose(before, after, rtol=1e-3, atol=1e-4):
        raise PruneError(
            f"{type(block).__name__} is not a split {block.stock.__name__}: merged, its output differs by "
            f"{float((before - after).abs().max()):.3g}. Convert the checkpoint with the script that wrote it."
        )
    return whole


def _stock_of(block: Network) -> type:
    """The class that `block` was split from, by the name upstream gave it, its contents, or its own name."""
    named = {kind.__name__: kind for kind in (C2f, C3k2, C2fCIB, C2fPSA, C2PSA)}
    given = str(getattr(block, "type", "")).rpartition(".")[2]
    if given in named:
        return named[given]
    if isinstance(block.m, nn.Sequential):
        return C2PSA
    if any(isinstance(child, C3) for child in block.m):
        return C3k2
    return named.get(type(block).__name__.partition("_")[0], C2f)


def _probe(block: Network) -> Tensor | None:
    """Float32 output of a copy of `block` on fixed random input; None if its class came without a forward."""
    if type(block).forward is nn.Module.forward:
        return None
    weight = block.cv2.conv.weight
    source = getattr(block, "cv0", block.cv1)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, source.conv.in_channels, 8, 8, generator=generator)
    training, dtype = block.training, weight.dtype
    try:
        with torch.no_grad():
            return block.eval().float()(x.to(weight.device))
    finally:
        block.train(training).to(dtype)


def ignored_layers(model: Network, mode: str = "outputs", attention: str | None = None) -> dict[str, str]:
    """Layers whose output channels must stay, with the reason. Ask after surgery.

    Args:
        model: a task model of ultralytics.
        mode: "outputs" keeps of the head only what has to stay: output convolutions, DFL, mask prototypes, classifier.
            "head" keeps all of it, as published scripts do.
        attention: "inner" keeps attention itself and prunes the convolutions around it; "block" keeps each C2PSA,
            PSABlock and A2C2f whole, as published scripts do. By default the one that goes with `mode`.
    """
    attention = attention or {"outputs": "inner", "head": "block"}.get(mode, mode)
    if mode not in ("outputs", "head") or attention not in ("inner", "block"):
        raise PruneError(f"Unknown mode {mode!r} (outputs, head) or attention {attention!r} (inner, block).")
    kept: dict[str, str] = {}
    for name, module in model.named_modules():
        reason = _reason(module, mode, attention)
        for below, layer in module.named_modules(prefix=name):
            if reason and isinstance(layer, (nn.modules.conv._ConvNd, nn.Linear)):
                kept.setdefault(below, reason)
        if isinstance(module, (Detect, Classify)):
            kept.update(_outputs(name, module))
    return kept


_ATTENTION_BLOCKS = (SplitC2PSA, C2PSA, SplitPSA, PSA, PSABlock, A2C2f)


def _reason(module: Network, mode: str, attention: str) -> str | None:
    """Why all of `module` stays, if it does."""
    if isinstance(module, (Attention, AAttn)):
        return "attention: its reshapes fix the width"
    if isinstance(module, DFL):
        return "DFL: its weights are the bins"
    if isinstance(module, RealNVP):
        return "flow model of the pose loss"
    if mode == "head" and isinstance(module, (Detect, Classify)):
        return "head not pruned"
    return "attention block not pruned" if attention == "block" and isinstance(module, _ATTENTION_BLOCKS) else None


def _outputs(name: str, head: Network) -> dict[str, str]:
    """The convolutions and linear layers of a head whose width is a number of classes, bins, points or masks."""
    inner = {id(block.conv) for block in head.modules() if isinstance(block, (Conv, DFL))}
    inner |= {id(layer) for flow in head.modules() if isinstance(flow, RealNVP) for layer in flow.modules()}
    found = {}
    for below, module in head.named_modules(prefix=name):
        if type(module) in (nn.Conv2d, nn.Linear) and id(module) not in inner:
            found[below] = "output: classes, bins, angles, key points or masks fix the width"
        if isinstance(module, Proto):
            found[f"{below}.cv3.conv"] = "output: mask prototypes fix the width"
    return found


# Networks whose layers are tied to something outside: a text encoder, visual prompts, a transformer's queries.
_NOT_PRUNED = {
    "RTDETRDecoder": "an RT-DETR network: its decoder and its queries fix the widths",
    "WorldDetect": "a YOLO-World network: its text embeddings fix the widths",
    "YOLOEDetect": "a YOLOE network: its text and visual prompts fix the widths",
}


def refuse_unknown(model: Network, source: object) -> None:
    """PruneError for a network that cannot be pruned and used as before; `source` names it."""
    heads = {kind.__name__ for module in model.modules() for kind in type(module).__mro__}
    for head, reason in _NOT_PRUNED.items():
        if head in heads:
            raise PruneError(f"{source}: {reason}. prunekit prunes YOLOv3 to v12 and 26.")


@contextmanager
def tracing(model: Network) -> Iterator[None]:
    """The state in which every branch of the network is visible to autograd; all is as before afterwards.

    Training mode shows training-only branches, with BatchNorm left in eval so that no statistic moves. End-to-end heads
    hide behind `Tensor.detach`: it is the identity here. `feats`, the head's inputs, are not outputs to be kept.
    """
    modes = {module: module.training for module in model.modules()}
    detach = torch.Tensor.detach
    hook = model.register_forward_hook(lambda module, args, output: _without_feats(output))
    try:
        model.train()
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.training = False
        torch.Tensor.detach = lambda self: self  # type: ignore[assignment, return-value]
        yield
    finally:
        torch.Tensor.detach = detach
        hook.remove()
        for module, mode in modes.items():
            module.training = mode


def trace_forward(model: Network, example: Tensor) -> Any:
    """All outputs of all branches for `example` (1, channels, h, w), for the dependency graph."""
    with tracing(model):
        return model(example)


def _without_feats(output: Any) -> Any:
    if isinstance(output, dict):
        return {key: _without_feats(value) for key, value in output.items() if key != "feats"}
    return output
