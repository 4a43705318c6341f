"""Networks from rows."""

from copy import deepcopy

import torch
import yaml
from torch import nn


class Conv(nn.Module):
    def __init__(self, c1, c2, k=1, s=1):
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, s, k // 2, bias=False)
        self.bn = nn.BatchNorm2d(c2)
        self.act = nn.ReLU()

    def forward(self, x):
        return self.act(self.bn(self.conv(x)))


class Add(nn.Module):
    def forward(self, x):
        return x[0] + x[1]


class Detect(nn.Module):
    """A box (centre, size), an objectness and nc scores per cell; decoded outside of training."""

    stride = 4

    def __init__(self, nc, ch):
        super().__init__()
        self.nc = nc
        self.m = nn.Conv2d(ch, 5 + nc, 1)

    def forward(self, x):
        y = self.m(x)
        if self.training:
            return y
        b, _, h, w = y.shape
        gy, gx = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        xy = (y[:, :2].sigmoid() + torch.stack((gx, gy)).to(y)) * self.stride
        wh = y[:, 2:4].sigmoid() * self.stride * 8
        return torch.cat((xy, wh, y[:, 4:].sigmoid()), 1).view(b, 5 + self.nc, h * w).transpose(1, 2)


def parse_model(d, ch):
    """Layers from the rows of a YAML."""
    layers, widths = [], []
    for i, (f, n, name, args) in enumerate(d["backbone"] + d["head"]):
        m = eval(name)
        c1 = (widths[f[0]] if isinstance(f, list) else widths[f]) if widths else ch
        if m is Conv:
            c2 = args[0]
            made = [Conv(c1 if j == 0 else c2, *args) for j in range(n)]
        else:
            c2 = c1
            made = [Add() if m is Add else Detect(d["nc"], c1)]
        layer = made[0] if n == 1 else nn.Sequential(*made)
        layer.i, layer.f = i, f
        layers.append(layer)
        widths.append(c2)
    return nn.Sequential(*layers)


class Net(nn.Module):
    def __init__(self, cfg="cfg/toy.yaml", ch=3, nc=None):
        super().__init__()
        self.yaml = deepcopy(cfg) if isinstance(cfg, dict) else yaml.safe_load(open(cfg))
        self.yaml["nc"] = nc or self.yaml["nc"]
        self.model = parse_model(deepcopy(self.yaml), ch)
        self.stride = torch.tensor([4.0])
        self.names = [str(i) for i in range(self.yaml["nc"])]

    def forward(self, x):
        y = []
        for m in self.model:
            x = m([x if j == -1 else y[j] for j in m.f] if isinstance(m.f, list) else x if m.f == -1 else y[m.f])
            y.append(x)
        return x
