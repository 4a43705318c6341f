# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is compared: each variant is a name, how it is made, and which cell it starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

HALF = 0.5  # of the dense network's MACs
GIVEN = ("--schedule", "given")
LAMP = ("--importance", "lamp")  # one ratio in each layer, multiples of 16, not repaired: what a typed criterion gets
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
        time_of: the variant whose measured time it is pruned to (`--target-latency`), not to MACs.
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
    time_of: str = ""
    against: str = "lamp-local"


def variants() -> dict[str, Variant]:
    """All of them, by name, each after the one that it starts from; the questions asked first stand first."""
    found = [
        Variant("dense", "dense", "the network that is pruned", start="", against="dense-more"),
        Variant("dense-more", "more", "dense, trained on for the same epochs", against=""),
        Variant("default", "prune", "prune_one_shot.py, default settings", against="dense-more"),
        _pruned("lamp-local", "lamp, the same ratio in each layer, multiples of 16", against="dense-more"),
        _pruned("random-local", "control: random channels", "--importance", "random"),
        Variant("stock-tp", "stock", "Torch-Pruning's high-level pruner with its own defaults"),
        Variant("scratch", "scratch", "lamp-local's architecture from random weights, all epochs", start="lamp-local"),
        _stepwise("steps-2", "two steps, half the epochs each", 2, *GIVEN),
        _stepwise("steps-4", "four steps, a quarter of the epochs each", 4, *GIVEN),
    ]
    larger: dict[str, Any] = {"start": "large-dense", "large": True, "against": "dense-more"}
    found += _helpers()
    found += _criteria()
    found += _quarter()
    found += [
        Variant("large-dense", "dense", "the next larger network", start="", large=True, against="small-native"),
        Variant("small-native", "dense", "the small network, all epochs from scratch", start="", against="dense-more"),
        Variant("large-pruned", "prune", "the larger network, default settings, to the small one's MACs", **larger),
        Variant(
            "large-pruned-time",
            "prune",
            "the larger network, default settings, to the small one's measured time",
            time_of="dense",
            **larger,
        ),
        _pruned("large-lamp", "the same by lamp", **larger),
        _pruned("large-fpgm", "the same by fpgm, repaired", *FPGM, *REPAIR, **larger),
    ]
    return {variant.name: variant for variant in found}


def _pruned(name: str, about: str, *options: str, **more: Any) -> Variant:
    """A run of a pruning script with these options, by LAMP unless they say otherwise."""
    words = options if "--importance" in options else (*LAMP, *options)
    return Variant(name, "prune", about, options=words, **more)


def _stepwise(name: str, about: str, steps: int, *options: str, **more: Any) -> Variant:
    """The same in several steps."""
    return _pruned(name, about, "--steps", str(steps), *options, script="prune.py", steps=steps, **more)


def _helpers() -> list[Variant]:
    """What may bring accuracy back, each against `lamp-local`, from which it differs in this alone."""
    rates = [
        _pruned(f"lr-{rate:g}", f"fine-tuning at lr0 {rate:g} (else 0.03)", hyp=(("lr0", rate),))
        for rate in (0.003, 0.01, 0.06)
    ]
    warm = _pruned("warm-up", "one epoch of warm-up (else none)", hyp=(("warmup_epochs", 1.0),))
    pulls = [
        _pruned(f"distill-{pull:g}", f"beside the dense network, pull {pull:g}", "--distill", str(pull))
        for pull in (0.5, 1.0)
    ]
    widths = [_pruned(f"round-{n}", f"widths in multiples of {n} (else 16)", "--round-to", str(n)) for n in (1, 8)]
    recalibrated = _pruned("recalibrate", "BatchNorm statistics measured anew", "--recalibrate")
    repaired = [
        _pruned(f"{name}-repair", f"{name}, repaired on 128 images before fine-tuning", *words, *REPAIR)
        for name, words in (("lamp", ()), ("random", RANDOM), ("fpgm", FPGM))
    ]
    rates += [
        _pruned(
            f"fpgm-repair-lr-{rate:g}",
            f"fpgm, repaired, fine-tuning at lr0 {rate:g}",
            *FPGM,
            *REPAIR,
            hyp=(("lr0", rate),),
        )
        for rate in (0.0003, 0.002)
    ]
    pulled = [
        _pruned(
            f"fpgm-{name}distill", f"fpgm, {text}beside the dense network, pull 0.5", *FPGM, *words, "--distill", "0.5"
        )
        for name, text, words in (("", "", ()), ("repair-", "repaired, ", REPAIR))
    ]
    both = Variant(
        "default-distill",
        "prune",
        "default settings, beside the dense network, pull 0.5",
        options=("--distill", "0.5"),
        against="default",
    )
    finer = _pruned("fpgm-round-8", "fpgm, widths in multiples of 8 (else 16)", *FPGM, "--round-to", "8")
    solved = _pruned(
        "reconstruction-repair",
        "reconstruction, repaired before fine-tuning",
        "--importance",
        "reconstruction",
        *REPAIR,
    )
    at_time: dict[str, Any] = {"time_of": "default", "against": "default"}
    as_fast = [
        _pruned(f"{name}-time", f"{text}, multiples of 16, to the default's measured time", *words, **at_time)
        for name, text, words in (("random", "control: random channels", RANDOM), ("fpgm", "fpgm", FPGM))
    ]
    table = Variant("sensitivity", "sensitive", "widths by sensitivity.py, recalibrated", options=("--recalibrate",))
    return [
        recalibrated,
        *repaired,
        table,
        *pulls,
        *pulled,
        both,
        finer,
        solved,
        *as_fast,
        *widths,
        *rates,
        warm,
        *_schedules(),
    ]


def _schedules() -> list[Variant]:
    """Schedules scaled to what was removed, where that differs from the given: light cuts, many steps."""
    scaled, light = ("--schedule", "scaled"), "a light cut, to 0.8 of the MACs"
    return [
        _pruned("light", f"{light}, schedule as given", *GIVEN, fraction=0.8, against="dense-more"),
        _pruned("light-scaled", f"{light}, schedule scaled", *scaled, fraction=0.8, against="light"),
        _stepwise("steps-2-scaled", "two steps, schedule scaled", 2, *scaled, against="steps-2"),
        _stepwise("steps-4-scaled", "four steps, schedule scaled", 4, *scaled, against="steps-4"),
    ]


def _quarter() -> list[Variant]:
    """A quarter of the MACs: the smaller the budget, the more the choices may weigh."""
    shared: dict[str, Any] = {"fraction": 0.25, "against": "quarter"}
    to = "to 0.25 of the MACs"
    return [
        _pruned("quarter", f"{to}: prune_one_shot.py, default settings", **{**shared, "against": "dense-more"}),
        _pruned("quarter-random", f"{to}: control: random channels", *RANDOM, **shared),
        _pruned("quarter-round-8", f"{to}: widths in multiples of 8", "--round-to", "8", **shared),
        _pruned("quarter-global", f"{to}: one ranking of all channels", "--scope", "global", **shared),
        _stepwise("quarter-steps-2", f"{to}: two steps, schedule scaled", 2, **shared),
        Variant("quarter-stock", "stock", f"{to}: Torch-Pruning's pruner", **shared),
    ]


def _criteria() -> list[Variant]:
    """Each criterion and scope that is not there yet."""
    there = {("lamp", "local"), ("random", "local")}
    pairs = [(name, scope) for scope in ("local", "global") for name in CRITERIA if (name, scope) not in there]
    return [
        _pruned(f"{name}-{scope}", f"{name}, {scope}", "--importance", name, "--scope", scope) for name, scope in pairs
    ]


def ordered(names: list[str], every: dict[str, Variant]) -> list[str]:
    """These variants and those that they start from, each after its start.

    Raises:
        KeyError: a name that is not one of `every`.
    """
    wanted: list[str] = []

    def add(name: str) -> None:
        needs = ["dense", "large-dense"] if every[name].large and every[name].start else [every[name].start]
        for need in (*needs, every[name].time_of):
            if need and need not in wanted:
                add(need)
        if name not in wanted:
            wanted.append(name)

    for name in names:
        add(name)
    return wanted
