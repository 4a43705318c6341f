# SPDX-License-Identifier: AGPL-3.0-or-later
"""A run asks for its networks again and again; each file is opened once."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn


def test_a_file_is_opened_once_until_it_is_written_anew(engine: SimpleNamespace, tmp_path: Path) -> None:
    opened, loads = importlib.import_module("pruning.checkpoint.once").Opened(), []

    def load(path: Path) -> nn.Module:
        loads.append(path.name)
        return torch.load(path, weights_only=False)

    for name in ("a.pt", "b.pt", "c.pt"):
        torch.save(nn.Linear(2, 2), tmp_path / name)
    first, second = (opened(tmp_path / "a.pt", load) for _ in range(2))
    first.weight.data.zero_()
    assert second.weight.abs().sum() > 0 and opened(tmp_path / "a.pt", load).weight.equal(second.weight)
    assert loads == ["a.pt"], "a copy each time, one load"
    torch.save(nn.Linear(3, 2), tmp_path / "a.pt")
    os.utime(tmp_path / "a.pt", ns=(1, 1))
    assert opened(tmp_path / "a.pt", load).in_features == 3
    for name in ("b.pt", "c.pt", "a.pt"):  # two networks are kept in memory, no more
        opened(tmp_path / name, load)
    assert loads == ["a.pt", "a.pt", "b.pt", "c.pt", "a.pt"]
