# SPDX-License-Identifier: AGPL-3.0-or-later
"""Halve a network with torch-pruning directly, so that these tests do not lean on the engine's planning."""

from __future__ import annotations

import torch
import torch_pruning as tp
from torch import nn
from ultralytics.prunekit.blocks import RULES, ignored_layers, trace_forward
from ultralytics.pruning.network.surgery import merge_blocks, split_blocks


def shrink(model: nn.Module, ratio: float = 0.5, merge: bool = True) -> nn.Module:
    """Prune a task model in place by L2 magnitude, locally; split blocks stay split unless `merge`."""
    model.requires_grad_(True)
    split_blocks(model, RULES)
    layers = dict(model.named_modules())
    fresh = ("in_channel_groups", "out_channel_groups", "channel_groups", "num_heads")
    tp.pruner.MagnitudePruner(
        model,
        torch.zeros(1, 3, 64, 64),
        importance=tp.importance.MagnitudeImportance(p=2),
        pruning_ratio=ratio,
        ignored_layers=[layers[name] for name in ignored_layers(model)],
        forward_fn=trace_forward,
        **{key: {} for key in fresh},
    ).step()
    if merge:
        merge_blocks(model, RULES)
    return model


def randomize_norms(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give BatchNorm distinct scales and statistics, as training does: a swapped channel then shows."""
    generator = torch.Generator().manual_seed(seed)
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.weight.data.uniform_(0.5, 1.5, generator=generator)
            m.bias.data.normal_(0, 0.1, generator=generator)
            m.running_mean.normal_(0, 0.1, generator=generator)
            m.running_var.uniform_(0.5, 1.5, generator=generator)
    return model


def tensors(output: object) -> list[torch.Tensor]:
    """All tensors in a model's nested output, in order."""
    if isinstance(output, torch.Tensor):
        return [output]
    items = output.values() if isinstance(output, dict) else output
    return [t for item in items for t in tensors(item)]


def difference(a: nn.Module, b: nn.Module) -> float:
    """Largest absolute difference between the outputs of two networks in eval mode on one random image."""
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        pairs = zip(tensors(a.eval()(x)), tensors(b.eval()(x)), strict=True)
        return max(float((p - q).abs().max()) for p, q in pairs)


def parameters(model: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in model.parameters())
