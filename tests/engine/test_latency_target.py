# SPDX-License-Identifier: AGPL-3.0-or-later
"""The search behind --target-latency, on machines that the test makes up; and the options that it excludes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from engine_helpers import modules


@pytest.fixture(scope="module")
def parts(engine: object) -> SimpleNamespace:
    """The modules, imported as the engine is on its own."""
    names = ("run.latency_target", "run.record", "scripts.options", "errors")
    return modules(*names)


def machine(
    parts: SimpleNamespace, time: Callable[[float, int], float], noise: float = 0.005, least: float = 0.1
) -> tuple[Callable[[float, int, bool], Any], list[tuple[float, int]]]:
    """A probe that takes `time(macs, rounding)` of the dense time, and the log of what it was asked."""
    log: list[tuple[float, int]] = []

    def probe(macs: float, round_to: int, at_length: bool) -> Any:
        log.append((macs, round_to))
        if macs < least:
            raise parts.errors.Unreachable("too narrow")
        share = time(macs, round_to)
        return parts.latency_target.Probe(
            macs, macs, round_to, share, share * (1 - noise), share * (1 + noise), at_length
        )

    return probe, log


@pytest.mark.parametrize("target", [0.3, 0.5, 0.6, 0.8, 0.95])
@pytest.mark.parametrize("shape", ["line", "steps"])
def test_finds_the_macs_whose_time_is_the_target(parts: SimpleNamespace, target: float, shape: str) -> None:
    """A part of the time has no MACs in it; with steps, as kernels that work on blocks of channels have them."""
    shapes = {"line": lambda m, r: 0.15 + 0.85 * m, "steps": lambda m, r: 0.15 + 0.85 * round(m * 64) / 64}
    probe, log = machine(parts, shapes[shape])
    settings = parts.options.Settings(target_latency=target, prune_ratio=None, round_to=8)
    found = parts.latency_target.search(probe, settings, lambda n: 0.05, lambda line: None)
    assert abs(found.share - target) <= 0.05 * target and len(log) <= parts.latency_target.PROBES + 2
    assert found.macs <= target, "MACs alone would have promised more"


@pytest.mark.parametrize("target", [0.33, 0.52, 0.64, 0.85])
def test_few_plans_are_looked_through_without_asking_for_one_again_and_again(
    parts: SimpleNamespace, target: float
) -> None:
    """Seven plans stand for every fraction; the one whose time is nearest to the target is found."""
    plans = (0.11, 0.24, 0.36, 0.49, 0.57, 0.74, 0.9)
    shares = {macs: 0.15 + 0.85 * macs for macs in plans}
    log: list[float] = []

    def probe(fraction: float, round_to: int, at_length: bool) -> Any:
        macs = max((it for it in plans if it <= fraction), default=plans[0])
        log.append(macs)
        share = shares[macs]
        return parts.latency_target.Probe(fraction, macs, round_to, share, share - 0.001, share + 0.001, at_length)

    settings = parts.options.Settings(target_latency=target, prune_ratio=None, round_to=16)
    best = min(shares.values(), key=lambda share: abs(share - target))
    try:
        assert parts.latency_target.search(probe, settings, lambda n: 0.05, lambda line: None).share == best
    except parts.errors.Unreachable as error:
        assert abs(best - target) > 0.04 * target and f"the nearest plan takes {best:.3f}" in str(error)
    assert len(set(log)) <= 5 and max(map(log.count, log)) <= 6, log


BUMPS = {  # fewer MACs that take longer: the time without them, a range of MACs, the time there
    "the first try down": (lambda m: m + 0.05, (0.545, 0.57), 0.9),
    "between the neighbours": (lambda m: 0.4 if m < 0.5 else m + 0.15 if m > 0.55 else m + 0.08, (0.527, 0.535), 0.9),
}


@pytest.mark.parametrize("name", BUMPS)
def test_fewer_macs_that_take_longer_do_not_hold_the_search_up(parts: SimpleNamespace, name: str) -> None:
    """Kernels have widths that they do not like; no fraction is asked for twice, but to be measured at length."""
    usual, (low, high), slow = BUMPS[name]
    probe, log = machine(parts, lambda m, r: slow if low < m < high else usual(m))
    settings = parts.options.Settings(target_latency=0.6, prune_ratio=None, round_to=16)
    found = parts.latency_target.search(probe, settings, lambda n: 0.05, lambda line: None)
    assert abs(found.share - 0.6) <= 0.05 * 0.6 and any(low < macs < high for macs, _ in log), log
    assert max(map(log.count, log)) <= 2, log


def test_the_faster_rounding_stays(parts: SimpleNamespace) -> None:
    probe, log = machine(parts, lambda m, r: m if r == 16 else min(1.0, m + 0.2))
    settings = parts.options.Settings(target_latency=0.6, prune_ratio=None, round_to=8)
    found = parts.latency_target.search(probe, settings, lambda n: 0.05, lambda line: None)
    assert found.round_to == 16 and log[0][1] == 8 and {r for _, r in log[1:]} == {16}


def test_no_wider_multiples_than_kernels_ask_for(parts: SimpleNamespace) -> None:
    """Multiples of 32 as fast as of 16 would leave too few plans: 0.4 could not be met with them on yolov8n."""
    probe, log = machine(parts, lambda m, r: m - 0.01 * (r > 16))
    settings = parts.options.Settings(target_latency=0.4, prune_ratio=None, round_to=16)
    found = parts.latency_target.search(probe, settings, lambda n: 0.05, lambda line: None)
    assert found.round_to == 16 and {r for _, r in log} == {16}


def test_says_when_the_narrowest_is_too_slow(parts: SimpleNamespace) -> None:
    probe, log = machine(parts, lambda m, r: 0.5 + 0.5 * m, least=0.1)
    settings = parts.options.Settings(target_latency=0.3, prune_ratio=None, round_to=8)
    said: list[str] = []
    with pytest.raises(Exception, match=r"--target-latency 0\.3 cannot be met: the nearest .* 0\.55. of the dense"):
        parts.latency_target.search(probe, settings, lambda n: 0.1, said.append)
    assert min(m for m, _ in log) == pytest.approx(0.102) and all("of the dense time" in line for line in said)


def test_stops_within_noise(parts: SimpleNamespace) -> None:
    """A measurement that is no surer than the step still to go has nothing more to say."""
    probe, log = machine(parts, lambda m, r: m + 0.02, noise=0.035)
    settings = parts.options.Settings(target_latency=0.6, prune_ratio=None, round_to=8)
    parts.latency_target.search(probe, settings, lambda n: 0.05, lambda line: None)
    assert len(log) == 3, "two roundings, one confirmed: 0.62 with an interval from 0.598 to 0.642 meets 0.6"


def test_one_target_at_a_time(parts: SimpleNamespace) -> None:
    with pytest.raises(Exception, match="--target-macs and --target-latency exclude each other"):
        parts.options.Settings(prune_ratio=None, target_macs=0.5, target_latency=0.5).checked()
    with pytest.raises(Exception, match=r"--target-latency 1\.0: must lie between"):
        parts.options.Settings(prune_ratio=None, target_latency=1.0).checked()


def test_the_record_of_a_latency_run_is_read_back(
    parts: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`resolved` leaves the target beside the MACs that it became: --resume and quantify.py read such a record."""
    made = parts.latency_target.Probe(0.52, 0.51, 16, 0.6, 0.59, 0.61, confirmed=True)
    bench = SimpleNamespace(probe=None, least=None, image=torch.zeros(1, 3, 32, 32), threads=1)
    monkeypatch.setattr(parts.latency_target, "missing", lambda runtime: "")
    monkeypatch.setattr(parts.latency_target, "Bench", lambda *words: bench)
    monkeypatch.setattr(parts.latency_target, "search", lambda *words: made)
    typed = parts.options.Settings(target_latency=0.6, prune_ratio=None).checked()
    settings, latency = parts.latency_target.resolved(None, tmp_path / "best.pt", typed, say=lambda line: None)
    parts.record.State(tmp_path, settings, "toy", "best.pt", {}, latency=latency).save()
    found = parts.record.State.load(tmp_path).settings
    assert found == settings and (found.target_latency, found.target_macs, found.round_to) == (0.6, 0.52, 16)
    parts.record.State(tmp_path, settings, "toy", "best.pt", {}).save()
    with pytest.raises(Exception, match="--target-macs and --target-latency exclude each other"):
        parts.record.State.load(tmp_path)


ASKED = [
    {},
    {"prune_ratio": None, "target_macs": 0.5, "deployed": True},
    {"prune_ratio": None, "target_params": 2e6},
    {"prune_ratio": None},  # an edited plan decides
    {"ignore": ("model.0", "model.1"), "repair": 0, "sensitivity": "/t.json", "scope": "sensitivity"},
    {"distill": 0.5, "max_map_drop": 0.02, "sparsity": 1e-3, "compound": True},
]


@pytest.mark.parametrize("asked", ASKED, ids=[" ".join(asked) or "as it is" for asked in ASKED])
def test_what_a_run_was_asked_is_read_back(parts: SimpleNamespace, tmp_path: Path, asked: dict[str, Any]) -> None:
    settings = parts.options.Settings(**asked).checked()
    parts.record.State(tmp_path, settings, "toy", "best.pt", {}).save()
    assert parts.record.State.load(tmp_path).settings == settings


def test_a_setting_that_this_version_does_not_know_is_no_record_to_go_on_with(
    parts: SimpleNamespace, tmp_path: Path
) -> None:
    parts.record.State(tmp_path, parts.options.Settings(), "toy", "best.pt", {}).save()
    report = tmp_path / "report.json"
    report.write_text(report.read_text().replace('"settings": {', '"settings": {"freeze_backbone": true,'))
    with pytest.raises(Exception, match="the setting freeze_backbone is not known to this version"):
        parts.record.State.load(tmp_path)


def test_luck_does_not_count(parts: SimpleNamespace) -> None:
    """A short measurement that hits the target by chance is found out by the long one, and the search goes on."""

    def probe(macs: float, round_to: int, at_length: bool) -> Any:
        share = macs + (0.15 if at_length or macs < 0.58 else 0.0)
        return parts.latency_target.Probe(macs, macs, round_to, share, share - 0.005, share + 0.005, at_length)

    settings = parts.options.Settings(target_latency=0.6, prune_ratio=None, round_to=8)
    found = parts.latency_target.search(probe, settings, lambda n: 0.05, lambda line: None)
    assert found.confirmed and found.macs == pytest.approx(0.45, abs=0.02)
