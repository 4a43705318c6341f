# SPDX-License-Identifier: AGPL-3.0-or-later
"""Blocks as users write them, each on 16 channels, that a dependency graph gets wrong or cannot follow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

C = 16


class Heads(nn.Module):
    """Self-attention over places: q, k and v are cut into heads by a view."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Conv2d(C, C, 1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        q, k, v = (m(x).view(b, 4, c // 4, -1) for m in (self.q, self.k, self.v))
        return (v @ torch.softmax(q.transpose(-2, -1) @ k, -1)).reshape(b, -1, h, w)


class Fused(nn.Module):
    """A learned weight for each of three inputs, and a gate that all channels share."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(3))
        self.ins, self.gate = nn.ModuleList(nn.Conv2d(C, C, 1) for _ in range(3)), nn.Conv2d(C, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        w = torch.relu(self.w)
        w = w / (w.sum() + 1e-4)
        return sum(w[i] * m(x) for i, m in enumerate(self.ins)) * self.gate(x).sigmoid()


class GSConv(nn.Module):
    """Half a convolution, half a depthwise one of it, shuffled by a reshape."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(C, C // 2, 1), nn.Conv2d(C // 2, C // 2, 3, padding=1, groups=C // 2)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        y = torch.cat((a, self.b(a)), 1)
        b, c, h, w = y.shape
        return y.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)


class EMA(nn.Module):
    """Channels go into the batch, in groups, which are normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.gn, self.one = nn.GroupNorm(4, 4), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        g = x.reshape(b * 4, -1, h, w)
        p = torch.softmax(self.gn(g * self.one(g).sigmoid()).mean((2, 3)).reshape(b * 4, 1, -1), -1)
        return (g * (p @ g.reshape(b * 4, c // 4, -1)).reshape(b * 4, 1, h, w).sigmoid()).reshape(b, c, h, w)


class CBAM(nn.Module):
    """Channel attention, then spatial attention over mean and maximum of all channels."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.cv = nn.Conv2d(C, C, 1), nn.Conv2d(2, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.fc(F.adaptive_avg_pool2d(x, 1)).sigmoid()
        return x * self.cv(torch.cat((x.mean(1, keepdim=True), x.max(1, keepdim=True)[0]), 1)).sigmoid()


class ECA(nn.Module):
    """A 1-d convolution along the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = F.adaptive_avg_pool2d(x, 1).squeeze(-1).transpose(-1, -2)
        return x * self.conv(y).transpose(-1, -2).unsqueeze(-1).sigmoid()


class SE(nn.Module):
    """Squeeze and excitation with linear layers and a shared PReLU: this one can be pruned."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.act, self.b = nn.Linear(C, 8), nn.PReLU(), nn.Linear(8, C)

    def forward(self, x: Tensor) -> Tensor:
        b, c = x.shape[:2]
        return x * self.b(self.act(self.a(x.mean((2, 3))))).sigmoid().view(b, c, 1, 1)


class LastChannels(nn.Module):
    """Linear layers on channels that lie last, with a layer scale: hidden channels can be pruned."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.gamma = nn.Linear(C, 24), nn.Linear(24, C), nn.Parameter(torch.rand(C))

    def forward(self, x: Tensor) -> Tensor:
        y = self.gamma * self.b(F.gelu(self.a(x.permute(0, 2, 3, 1))))
        return x + y.permute(0, 3, 1, 2)


class Position(nn.Module):
    """A learned value for each channel and place, and coordinates in front of the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.p, self.cv = nn.Parameter(torch.rand(1, C, 8, 1)), nn.Conv2d(C + 1, C, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.p
        return self.cv(torch.cat((torch.linspace(0, 1, 8, dtype=x.dtype).expand(1, 1, 8, 8), x), 1))


class Buffer(nn.Module):
    """A constant for each channel that is no parameter, and a number of channels that is written down."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.rand(1, C, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class Numpy(nn.Module):
    """Leaves autograd, which the tracer cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.cv = nn.Conv2d(C, C, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.cv(torch.from_numpy(np.clip(self.cv(x).numpy(), -1, 1)))


class Lambda(nn.Module):
    """A function as a module."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class SimAM(nn.Module):
    """Attention without parameters: each place against the mean of its channel."""

    def forward(self, x: Tensor) -> Tensor:
        d = (x - x.mean((2, 3), keepdim=True)).pow(2)
        return x * (d / (4 * (d.sum((2, 3), keepdim=True) / (x.shape[2] * x.shape[3] - 1) + 1e-4)) + 0.5).sigmoid()


class CoordAttention(nn.Module):
    """Means along both axes in one tensor, then apart again along the places."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.h, self.w = nn.Conv2d(C, 8, 1), nn.Conv2d(8, C, 1), nn.Conv2d(8, C, 1)

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[2:]
        y = torch.cat((x.mean(3, keepdim=True), x.mean(2, keepdim=True).transpose(2, 3)), 2)
        over_h, over_w = F.hardswish(self.a(y)).split((h, w), 2)
        return x * self.h(over_h).sigmoid() * self.w(over_w.transpose(2, 3)).sigmoid()


class Partial(nn.Module):
    """FasterNet: a convolution of the first quarter of the channels alone."""

    def __init__(self) -> None:
        super().__init__()
        self.cv, self.up, self.down = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(C, 32, 1), nn.Conv2d(32, C, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = torch.split(x, (4, C - 4), 1)
        return x + self.down(torch.relu(self.up(torch.cat((self.cv(a), b), 1))))


class Star(nn.Module):
    """StarNet: the product of two convolutions of the same."""

    def __init__(self) -> None:
        super().__init__()
        self.dw, self.a, self.b = nn.Conv2d(C, C, 7, padding=3, groups=C), nn.Conv2d(C, 24, 1), nn.Conv2d(C, 24, 1)
        self.g = nn.Conv2d(24, C, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.dw(x)
        return x + self.g(F.relu6(self.a(y)) * self.b(y))


class LargeKernels(nn.Module):
    """LSK: two depthwise kernels, weighed at each place by mean and maximum over all channels."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = (nn.Conv2d(C, C, 5, padding=2, groups=C) for _ in range(2))
        self.first, self.second, self.out = nn.Conv2d(C, 8, 1), nn.Conv2d(C, 8, 1), nn.Conv2d(8, C, 1)
        self.squeeze = nn.Conv2d(2, 2, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        one, two = self.first(a), self.second(self.b(a))
        both = torch.cat((one, two), 1)
        s = self.squeeze(torch.cat((both.mean(1, keepdim=True), both.max(1, keepdim=True)[0]), 1)).sigmoid()
        return x * self.out(one * s[:, :1] + two * s[:, 1:])


class Dynamic(nn.Module):
    """A softmax over four kernels, which are one parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.route = nn.Parameter(torch.randn(4, C, C, 1, 1)), nn.Linear(C, 4)

    def forward(self, x: Tensor) -> Tensor:
        r = self.route(x.mean((2, 3))).softmax(1)
        return F.conv2d(x, (r.view(-1, 1, 1, 1, 1) * self.w).sum(0))


class Involution(nn.Module):
    """A kernel for each place, the same for all channels of a group."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.k = nn.Conv2d(C, 8, 1), nn.Conv2d(8, 9 * 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        k = self.k(torch.relu(self.a(x))).view(b, 4, 1, 9, h, w)
        return (k * F.unfold(x, 3, padding=1).view(b, 4, c // 4, 9, h, w)).sum(3).reshape(b, c, h, w)


class Triplet(nn.Module):
    """Attention over (channel, width): the channels lie where places do."""

    def __init__(self) -> None:
        super().__init__()
        self.cv = nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = x.permute(0, 2, 1, 3)
        s = self.cv(torch.cat((y.max(1, keepdim=True)[0], y.mean(1, keepdim=True)), 1)).sigmoid()
        return (y * s).permute(0, 2, 1, 3)


class Resampled(nn.Module):
    """DySample and deformable stand-ins: offsets learned from the channels, read by grid_sample."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Conv2d(C, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.grid_sample(x, self.offset(x).tanh().permute(0, 2, 3, 1), align_corners=False)


class Wavelet(nn.Module):
    """Haar wavelets as a fixed depthwise kernel in a buffer, four for each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("k", torch.tensor([[1.0, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.k.view(4, 1, 2, 2).repeat(x.shape[1], 1, 1, 1), stride=2, groups=x.shape[1])


class ThreeBranches(nn.Module):
    """RepVGG and MobileOne in training: 3x3, 1x1 and the identity, each normalised, in one sum."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(C, C, 3, padding=1, bias=False), nn.Conv2d(C, C, 1, bias=False)
        self.na, self.nb, self.ni = (nn.BatchNorm2d(C) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.na(self.a(x)) + self.nb(self.b(x)) + self.ni(x))


class DFC(nn.Module):
    """GhostNetV2: a gate at half the size, of a convolution along each axis."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(C, C, 1)
        self.h = nn.Conv2d(C, C, (1, 5), padding=(0, 2), groups=C)
        self.v = nn.Conv2d(C, C, (5, 1), padding=(2, 0), groups=C)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.v(self.h(self.a(F.avg_pool2d(x, 2)))).sigmoid()
        return x * F.interpolate(gate, size=x.shape[2:], mode="nearest")


class ShuffleAttention(nn.Module):
    """Groups in the batch, halves of them by gates of their own, shuffled at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.cw, self.cb, self.sw, self.sb = (nn.Parameter(torch.rand(1, 4, 1, 1)) for _ in range(4))
        self.gn = nn.GroupNorm(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        a, s = x.reshape(b * 2, -1, h, w).chunk(2, 1)
        a = a * (self.cw * a.mean((2, 3), keepdim=True) + self.cb).sigmoid()
        s = s * (self.sw * self.gn(s) + self.sb).sigmoid()
        y = torch.cat((a, s), 1).reshape(b, 2, -1, h, w)
        return y.permute(0, 2, 1, 3, 4).reshape(b, c, h, w)


class ASFF(nn.Module):
    """Two levels, weighed at each place by a softmax over the levels."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = (nn.Conv2d(C, C, 1) for _ in range(2))
        self.wa, self.wb, self.w = nn.Conv2d(C, 8, 1), nn.Conv2d(C, 8, 1), nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a(x), F.interpolate(self.b(F.max_pool2d(x, 2)), scale_factor=2.0)
        w = self.w(torch.cat((self.wa(a), self.wb(b)), 1)).softmax(1)
        return a * w[:, 0:1] + b * w[:, 1:2]


class CARAFE(nn.Module):
    """A kernel for each place of the larger map, out of a pixel shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.k = nn.Conv2d(C, 8, 1), nn.Conv2d(8, 9 * 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        k = F.pixel_shuffle(self.k(self.a(x)), 2).softmax(1)
        y = F.unfold(F.interpolate(x, scale_factor=2.0), 3, padding=1).view(b, c, 9, 2 * h, 2 * w)
        return (y * k.unsqueeze(1)).sum(2)


class Scaled(nn.Module):
    """A learned scale for each channel. Pruned to one channel it reads as a number, and a rebuild has them all."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cv, self.gamma = nn.Conv2d(width, width, 1), nn.Parameter(torch.rand(1, width, 1, 1))
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.cv(x) * self.gamma)


class Eights(nn.Module):
    """Two convolutions that a checkpoint takes back only with a width that eight divides: a kernel of the user's."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cv, self.out = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if self.cv.out_channels % 8:
            raise RuntimeError(f"Eights: {self.cv.out_channels} channels, which 8 does not divide")

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.cv(x))


class FReLU(nn.Module):
    """The funnel activation (arXiv 2007.11824): max(x, T(x)), T a depthwise convolution with its BatchNorm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.max(x, self.bn(self.conv(x)))


class Funnelled(nn.Module):
    """A convolution whose activation has layers, and so widths, of its own."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cv, self.bn = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.act = FReLU(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.cv(x)))


def _shuffled() -> nn.Module:
    return nn.ChannelShuffle(4)


def _flattened() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(C * 64, C), nn.Unflatten(1, (C, 1, 1)))


SILENT = {  # what a graph that knows no more than shapes prunes without a word
    "heads": Heads,
    "shuffle": _shuffled,
    "gsconv": GSConv,
    "fused": Fused,
    "unshuffle": lambda: nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * C, C, 1)),
    "einsum": lambda: Lambda(lambda x: torch.einsum("bchw,bdhw->bcd", x, x).unsqueeze(-1) + x[:, :, :1, :1]),
    "softmax": lambda: Lambda(lambda x: x.softmax(1)),
    "roll": lambda: Lambda(lambda x: x.roll(1, 1)),
    "flip": lambda: Lambda(lambda x: x.flip(1)),
    "mean": lambda: Lambda(lambda x: x * x.mean(1, keepdim=True)),
    "normalize": lambda: Lambda(lambda x: F.normalize(x, dim=1)),
}
OTHERS = {
    "ema": EMA,
    "cbam": CBAM,
    "eca": ECA,
    "position": Position,
    "buffer": Buffer,
    "numpy": Numpy,
    "pixelshuffle": lambda: nn.Sequential(nn.Conv2d(C, 4 * C, 1), nn.PixelShuffle(2)),
    "unfold": lambda: Lambda(lambda x: F.unfold(x, 2).unsqueeze(-1)[:, :C]),
    "flatten": _flattened,
    "lrn": lambda: nn.LocalResponseNorm(3),
    "sdpa": lambda: Lambda(lambda x: F.scaled_dot_product_attention(x, x, x)),
    "split": lambda: Lambda(lambda x: torch.cat((x[:, C // 2 :], x[:, : C // 2]), 1)),
    "chuncat": lambda: Lambda(
        lambda x: torch.cat([half for t in (x, torch.relu(x)) for half in t.chunk(2, 1)], 1) + torch.cat((x, x), 1)
    ),
    "repeat": lambda: Lambda(lambda x: x.repeat(1, 2, 1, 1)[:, :C]),
    "groupnorm": lambda: nn.GroupNorm(4, C),
    "instance": lambda: nn.InstanceNorm2d(C, affine=True),
    "prelu": lambda: nn.PReLU(C),
    "partial": Partial,
    "lsk": LargeKernels,
    "dynamic": Dynamic,
    "involution": Involution,
    "triplet": Triplet,
    "resampled": Resampled,
    "wavelet": Wavelet,
    "shuffled gates": ShuffleAttention,
    "carafe": CARAFE,
    "asff": ASFF,
}
WHOLE = {  # what can be pruned, and must be
    "simam": SimAM,
    "coord": CoordAttention,
    "star": Star,
    "branches": ThreeBranches,
    "dfc": DFC,
    "se": SE,
    "last": LastChannels,
    "silu": nn.SiLU,
    "pool": lambda: nn.AvgPool2d(2),
    "up": lambda: nn.Upsample(None, 2),
    "spatial": lambda: Lambda(lambda x: x.roll(1, 2) * x.flip(3) + x.softmax(-1) * x.mean((2, 3), keepdim=True)),
    "pad": lambda: Lambda(lambda x: F.pad(x, (1, 1, 1, 1))),
    "focus": lambda: Lambda(lambda x: x[..., ::2, ::2]),
}


class Net(nn.Module):
    """A block between convolutions, and branches beside it: (1, 3, 8, 8) -> (1, 5, ...) twice."""

    def __init__(self, block: nn.Module, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, C, 3, 1, 1), nn.BatchNorm2d(C), nn.SiLU())
        self.before = nn.Sequential(nn.Conv2d(C, C, 1), nn.BatchNorm2d(C), nn.SiLU())
        self.block = block
        self.after, self.out = nn.Conv2d(width, 12, 1), nn.Conv2d(12, 5, 1)
        self.free, self.other = nn.Conv2d(C, 20, 1), nn.Conv2d(20, 5, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x)
        return self.out(torch.relu(self.after(self.block(self.before(x))))), self.other(torch.relu(self.free(x)))


def net(kind: str) -> tuple[Net, Tensor]:
    """The network of a kind, in float64 and eval mode, and an image."""
    torch.manual_seed(0)
    block = {**SILENT, **OTHERS, **WHOLE}[kind]().double().eval()
    with torch.no_grad():
        width = block(torch.zeros(1, C, 8, 8, dtype=torch.float64)).shape[1]
    return Net(block, width).double().eval(), torch.randn(1, 3, 8, 8, dtype=torch.float64)


def told_before(loop: Any, settings: Any, family: Any, weights: Path) -> list[str]:
    """What `loop.preflight` says to a network with a `Scaled` as layer 2 where all but one of its channels go.

    Then the same with more channels left, and with its layer ignored, as it advised.
    """
    return [
        _told(loop, family, weights, settings(importance="l2", **asked))
        for asked in (
            {"prune_ratio": 0.99, "min_channels": 1},
            {"prune_ratio": 0.9, "min_channels": 2},
            {"prune_ratio": 0.99, "min_channels": 1, "ignore": ("model.2.cv",)},
        )
    ]


def _told(loop: Any, family: Any, weights: Path, settings: Any) -> str:
    try:
        loop.preflight(family, weights, settings)
    except loop.PruneError as error:
        return str(error)
    return ""


def told_by(network: Any, family: Any) -> list[str]:
    """The same within a fork of YOLOv5 or YOLOv7, whose class of networks and adapter are given."""
    from models import common, yolo
    from pruning.run import loop
    from pruning.settings import Settings

    Scaled.__module__ = common.__name__
    common.Scaled = yolo.Scaled = Scaled
    rows = [[-1, 1, "Conv", [16, 3, 8]], [-1, 1, "Conv", [32, 3, 2]], [-1, 1, "Scaled", [32]]]
    rows += [[-1, 1, "Conv", [32, 3, 2]]]
    head = [[[2, 3], 1, "Detect", ["nc", "anchors"]]]
    anchors = [[10, 13, 16, 30, 33, 23], [30, 61, 62, 45, 59, 119]]
    whole = {"nc": 2, "depth_multiple": 1.0, "width_multiple": 1.0, "anchors": anchors, "backbone": rows, "head": head}
    weights = Path("own.pt").resolve()
    torch.save({"model": network(whole)}, weights)
    return told_before(loop, Settings, family, weights)
