# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is compared: each variant is a name, how it is made, and which cell it starts from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

HALF = 0.5  # of the dense network's MACs
GIVEN = ("--schedule", "given")
RANDOM, FPGM, REPAIR = ("--importance", "random"), ("--importance", "fpgm"), ("--repair", "128")
CRITERIA = ("lamp", "l1", "l2", "group_norm", "bn_scale", "taylor", "hessian", "fpgm", "random")


@dataclass(frozen=True)
class Variant:
    """One way to a network.

    Attributes:
        kind: "dense" (from scratch), "more" (a checkpoint trained on), "prune" (a script of the fork),
            "sensitive" (the same, by a table made first), "stock" (Torch-Pruning's own pruner), "scratch" (a pruned
            architecture from random weights).
        start: the variant whose result it begins with.
        script, options: of the fork, for "prune".
        steps: into how many the fine-tuning epochs are divided.
        hyp: train arguments of the fine-tuning that differ from the comparison's.
        large: of the next larger network; pruned to the MACs of the small one.
        fraction: of the dense network's MACs to prune to.
        against: the variant that it is held against, with which it has all but one thing in common.
        about: one line for the table.
    """

    name: str
    kind: str
    about: str
    start: str = "dense"
    script: str = "prune_one_shot.py"
    options: tuple[str, ...] = ()
    steps: int = 1
    hyp: tuple[tuple[str, float], ...] = ()
    large: bool = False
    fraction: float = HALF
    against: str = "default"


def variants() -> dict[str, Variant]:
    """All of them, by name, each after the one that it starts from; the questions asked first stand first."""
    found = [
        Variant("dense", "dense", "the network that is pruned", start="", against="dense-more"),
        Variant("dense-more", "more", "dense, trained on for the same epochs", against=""),
        Variant("default", "prune", "prune_one_shot.py, default settings", against="dense-more"),
        Variant("random-local", "prune", "control: random channels", options=("--importance", "random")),
        Variant("stock-tp", "stock", "Torch-Pruning's high-level pruner with its own defaults"),
        Variant("scratch", "scratch", "the default's architecture from random weights, all epochs", start="default"),
        Variant(
            "steps-2",
            "prune",
            "two steps, half the epochs each",
            script="prune.py",
            options=("--steps", "2", *GIVEN),
            steps=2,
        ),
        Variant(
            "steps-4",
            "prune",
            "four steps, a quarter of the epochs each",
            script="prune.py",
            options=("--steps", "4", *GIVEN),
            steps=4,
        ),
    ]
    found += _helpers()
    found += _criteria()
    found += _quarter()
    found += [
        Variant("large-dense", "dense", "the next larger network", start="", large=True, against="small-native"),
        Variant("small-native", "dense", "the small network, all epochs from scratch", start="", against="dense-more"),
        Variant(
            "large-pruned",
            "prune",
            "the larger network, pruned to the small one's MACs",
            start="large-dense",
            large=True,
            against="small-native",
        ),
    ]
    return {variant.name: variant for variant in found}


def _helpers() -> list[Variant]:
    """What may bring accuracy back, each against `default`, from which it differs in this alone."""
    rates = [
        Variant(f"lr-{rate:g}", "prune", f"fine-tuning at lr0 {rate:g} (else 0.03)", hyp=(("lr0", rate),))
        for rate in (0.003, 0.01, 0.06)
    ]
    warm = Variant("warm-up", "prune", "one epoch of warm-up (else none)", hyp=(("warmup_epochs", 1.0),))
    pulls = [
        Variant(
            f"distill-{pull:g}", "prune", f"beside the dense network, pull {pull:g}", options=("--distill", str(pull))
        )
        for pull in (0.5, 1.0)
    ]
    widths = [
        Variant(f"round-{n}", "prune", f"widths in multiples of {n} (else 16)", options=("--round-to", str(n)))
        for n in (1, 8)
    ]
    recalibrated = Variant("recalibrate", "prune", "BatchNorm statistics measured anew", options=("--recalibrate",))
    repaired = [
        Variant(
            f"{name}-repair", "prune", f"{name}, repaired on 128 images before fine-tuning", options=(*words, *REPAIR)
        )
        for name, words in (("default", ()), ("random", RANDOM), ("fpgm", FPGM))
    ]
    pulled = Variant(
        "fpgm-distill", "prune", "fpgm, beside the dense network, pull 0.5", options=(*FPGM, "--distill", "0.5")
    )
    table = Variant("sensitivity", "sensitive", "widths by sensitivity.py, recalibrated", options=("--recalibrate",))
    return [recalibrated, *repaired, table, *pulls, pulled, *widths, *rates, warm, *_schedules()]


def _schedules() -> list[Variant]:
    """Schedules scaled to what was removed, where that differs from the given: light cuts, many steps."""
    scaled, light = ("--schedule", "scaled"), "a light cut, to 0.8 of the MACs"
    return [
        Variant("light", "prune", f"{light}, schedule as given", options=GIVEN, fraction=0.8, against="dense-more"),
        Variant("light-scaled", "prune", f"{light}, schedule scaled", options=scaled, fraction=0.8, against="light"),
        Variant(
            "steps-2-scaled",
            "prune",
            "two steps, schedule scaled",
            script="prune.py",
            options=("--steps", "2", *scaled),
            steps=2,
            against="steps-2",
        ),
        Variant(
            "steps-4-scaled",
            "prune",
            "four steps, schedule scaled",
            script="prune.py",
            options=("--steps", "4", *scaled),
            steps=4,
            against="steps-4",
        ),
    ]


def _quarter() -> list[Variant]:
    """A quarter of the MACs: the smaller the budget, the more the choices may weigh."""
    own = [
        ("quarter", "prune_one_shot.py, default settings", ()),
        ("quarter-random", "control: random channels", ("--importance", "random")),
        ("quarter-round-8", "widths in multiples of 8", ("--round-to", "8")),
        ("quarter-global", "one ranking of all channels", ("--scope", "global")),
    ]
    shared: dict[str, Any] = {"fraction": 0.25, "against": "quarter"}
    made = [
        Variant(name, "prune", f"to 0.25 of the MACs: {about}", options=options, **shared)
        for name, about, options in own
    ]
    made[0] = replace(made[0], against="dense-more")
    steps = Variant(
        "quarter-steps-2",
        "prune",
        "to 0.25 of the MACs: two steps, schedule scaled",
        script="prune.py",
        options=("--steps", "2"),
        steps=2,
        **shared,
    )
    stock = Variant("quarter-stock", "stock", "to 0.25 of the MACs: Torch-Pruning's pruner", **shared)
    return [*made, steps, stock]


def _criteria() -> list[Variant]:
    """Each criterion and scope that is not there yet."""
    there = {("lamp", "local"), ("random", "local")}
    pairs = [(name, scope) for scope in ("local", "global") for name in CRITERIA if (name, scope) not in there]
    return [
        Variant(f"{name}-{scope}", "prune", f"{name}, {scope}", options=("--importance", name, "--scope", scope))
        for name, scope in pairs
    ]


def ordered(names: list[str], every: dict[str, Variant]) -> list[str]:
    """These variants and those that they start from, each after its start.

    Raises:
        KeyError: a name that is not one of `every`.
    """
    wanted: list[str] = []

    def add(name: str) -> None:
        needs = ["small-native", "large-dense"] if every[name].large and every[name].start else [every[name].start]
        for need in needs:
            if need and need not in wanted:
                add(need)
        if name not in wanted:
            wanted.append(name)

    for name in names:
        add(name)
    return wanted
