# SPDX-License-Identifier: AGPL-3.0-or-later
"""The penalty's arithmetic and the statistics of the norms, on networks small enough to check by hand."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from torch import nn

pytestmark = pytest.mark.upstream


@pytest.fixture(scope="module")
def bn(upstream: ModuleType) -> ModuleType:
    """The engine's module of norms."""
    from ultralytics.pruning.training import bn_sparsity as module

    return module


def norms(*gammas: list[float], beta: float = 0.0) -> nn.Module:
    """A network of norms with the given scales, each with the same shift."""
    layers = [nn.BatchNorm2d(len(g)) for g in gammas]
    for layer, gamma in zip(layers, gammas, strict=True):
        layer.weight.data, layer.bias.data = torch.tensor(gamma), torch.full((len(gamma),), beta)
    return nn.Sequential(*layers)


def test_gamma_strength_falls_to_a_tenth(bn: ModuleType) -> None:
    """sparsity * (1 - 0.9 * epoch / epochs)."""
    assert bn.gamma_strength(0.01, 0, 10) == 0.01
    assert bn.gamma_strength(0.01, 5, 10) == pytest.approx(0.0055)
    assert bn.gamma_strength(0.01, 10, 10) == pytest.approx(0.001)


def test_penalty_follows_the_sign_and_skips_what_does_not_train(bn: ModuleType) -> None:
    """A gradient of None (an unused layer) or a frozen layer is counted, not touched; SyncBatchNorm is a norm."""
    net = norms([2.0, -2.0, 0.0], [1.0], [1.0], beta=-1.0).append(nn.SyncBatchNorm(1))
    net[2].requires_grad_(False)
    for p in (*net[0].parameters(), *net[3].parameters()):
        p.grad = torch.ones_like(p)
    reach = bn.add_l1(net, 0.5, 0.25)
    assert net[0].weight.grad.tolist() == [1.5, 0.5, 1.0]
    assert net[0].bias.grad.tolist() == [0.75] * 3
    assert net[3].weight.grad.tolist() == [1.5]
    assert net[1].weight.grad is None and net[2].weight.grad is None
    assert (reach.layers, reach.reached, reach.frozen, reach.without_gradient) == (4, 2, 1, 1)


def test_thresholds_global_and_per_layer(bn: ModuleType) -> None:
    """Keeping half of eight channels: the fourth largest of all, and the second largest of each layer."""
    report = bn.bn_report(norms([0.1, -0.2, 0.3, 0.4], [1.0, 2.0, -3.0, 4.0]), keep=0.5)
    assert report.channels == 8
    assert report.threshold == 1.0
    assert [x.threshold for x in report.layers] == pytest.approx([0.3, 3.0])
    assert [x.kept for x in report.layers] == [0, 4]
    assert report.layers[0].gamma_mean == pytest.approx(0.25)
    assert report.signal == pytest.approx(0.25 / 2.5)


def test_verdicts(bn: ModuleType) -> None:
    """Silent channels: prune. Loud ones, loud shifts, or all alike: train longer, with the figure."""
    silent, loud = [1e-3] * 4 + [1.0] * 4, [0.5] * 4 + [1.0] * 4
    assert bn.bn_report(norms(silent), 0.5).verdict == "prune"
    assert bn.bn_report(norms(loud), 0.5).verdict == "train longer"
    assert "50.0%" in bn.bn_report(norms(loud), 0.5).reason
    assert bn.bn_report(norms(silent, beta=1.0), 0.5).verdict == "train longer"
    equal = bn.bn_report(norms([1.0] * 8), 0.5)
    assert equal.verdict == "train longer" and "equal (1)" in equal.reason


@pytest.mark.parametrize("keep", [0.0, 1.0, -1.0, 2.0])
def test_keep_outside_its_range(bn: ModuleType, keep: float) -> None:
    """The fraction is named."""
    from ultralytics.pruning.errors import PruneError

    with pytest.raises(PruneError, match=r"outside \(0, 1\)"):
        bn.bn_report(norms([1.0, 2.0]), keep)


def test_fused_network_has_nothing_to_show(bn: ModuleType) -> None:
    """No norms: an error that says why."""
    from ultralytics.pruning.errors import PruneError

    with pytest.raises(PruneError, match="fused"):
        bn.bn_report(nn.Conv2d(3, 3, 1), 0.5)


def test_penalty_without_effect_is_said(bn: ModuleType) -> None:
    """Nothing reached: an error with the numbers. Part reached, or an adaptive optimizer: one warning, once."""
    from probes import useless

    kinds = ("no norms", "frozen", "no gradient", "part", "adamw", "sgd")
    none, frozen, idle, part, adamw, plain = map(useless, kinds)
    assert "of 0 BatchNorm layers" in none["error"]
    assert "of 2 BatchNorm layers, 2 frozen" in frozen["error"]
    assert "0 frozen, 2 without a gradient" in idle["error"]
    assert part["error"] is None and len(part["warnings"]) == 1
    assert "1 BatchNorm layers: 0 frozen, 1" in part["warnings"][0]
    assert adamw["error"] is None and len(adamw["warnings"]) == 1 and "AdamW" in adamw["warnings"][0]
    assert plain == {"error": None, "warnings": []}


def test_strengths_are_checked_by_upstream(bn: ModuleType) -> None:
    """Typed like upstream's own fractions."""
    from probes import rejected

    assert "TypeError: 'sparsity=much'" in rejected('"much"')
    assert "ValueError: 'sparsity=2.0'" in rejected("2.0")
    assert rejected("0.01") == 0.01
