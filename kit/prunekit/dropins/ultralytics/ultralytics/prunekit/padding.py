# SPDX-License-Identifier: AGPL-3.0-or-later
"""Unequal halves made equal: some published scripts prune the two halves of a block to different widths.

A stock block cuts its first convolution in the middle, so the smaller half gets channels that are exactly zero
(weights, scale and shift), and every convolution that reads it gets zero weights for them. No output changes.
"""

from __future__ import annotations

from torch import nn
from ultralytics.nn.modules.block import C3, Bottleneck
from ultralytics.pruning.errors import PruneError
from ultralytics.pruning.family.contract import Network
from ultralytics.pruning.network.surgery import pad_inputs, pad_outputs


def equalise(block: Network) -> None:
    """Pad the smaller half of a twin, and all that reads it, with channels that are exactly zero, in place.

    Raises:
        PruneError: what reads the half cannot take more channels without a change of its output.
    """
    first, second = block.cv0.conv.out_channels, block.cv1.conv.out_channels
    extra = abs(first - second)
    if not extra:
        return
    if first < second:
        pad_outputs(block.cv0, extra)
        pad_inputs(block.cv2.conv, [first], extra)
        return
    if not isinstance(block.m, nn.ModuleList):
        raise PruneError(f"Halves of {first} and {second} channels around attention cannot be padded.")
    pad_outputs(block.cv1, extra)
    ends, end, wide = [first + second], first + second, True
    for child in block.m:
        end += _width_out(child)
        wide = wide and _pad_stream(child, extra)
        ends += [end] if wide else []
    pad_inputs(block.cv2.conv, ends, extra)


def _width_out(child: Network) -> int:
    return int((child.cv3 if isinstance(child, C3) else child.cv2).conv.out_channels)


def _pad_stream(child: nn.Module, extra: int) -> bool:
    """Let `child` read `extra` more silent channels. True if they come out at its end, by a shortcut, too."""
    if type(child) is Bottleneck:
        pad_inputs(child.cv1.conv, [child.cv1.conv.in_channels], extra)
        if child.add:
            pad_outputs(child.cv2, extra)
        return child.add
    if isinstance(child, C3):
        for conv in (child.cv1.conv, child.cv2.conv):
            pad_inputs(conv, [conv.in_channels], extra)
        return False
    raise PruneError(f"Unequal halves before {type(child).__name__} cannot be padded. Prune with equal halves instead.")
