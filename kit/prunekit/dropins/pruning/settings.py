# SPDX-License-Identifier: AGPL-3.0-or-later
"""What one pruning run was asked to do, whoever asks: a command line, a record, a program. No argparse here."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass, fields
from typing import Any

from .errors import PruneError

# The words that settings may be, in one place: each module holds itself against them.
CRITERIA = (
    "lamp",
    "l1",
    "l2",
    "group_norm",
    "bn_scale",
    "taylor",
    "hessian",
    "fpgm",
    "random",
    "reconstruction",
)
SCHEDULES = ("given", "scaled")
HEADS, MOST_STEPS, MOST_BLOCKS = ("outputs", "whole"), 1000, 1000
SCOPES = ("local", "global")  # a third, "sensitivity", is what --sensitivity asks for


@dataclass(frozen=True)
class Settings:
    """What one pruning run was asked to do. Fractions are of the dense network."""

    steps: int = 1
    prune_ratio: float | None = 0.5  # None where a target or an edited plan decides
    target_macs: float | None = None  # fraction of the dense MACs if <= 1, else MACs
    target_params: float | None = None  # fraction of the dense parameters if <= 1, else parameters
    deployed: bool = False  # do targets refer to the network without what deployment drops?
    target_latency: float | None = None  # fraction of the dense time, measured; becomes target_macs and round_to
    importance: str = "lamp"
    scope: str = "local"
    sensitivity: str | None = None  # a table of sensitivity.py, from which the widths follow
    round_to: int = 1
    min_channels: int = 8
    ignore: tuple[str, ...] = ()
    remove_blocks: int = 0  # bottlenecks that go before any channel does, at most
    head: str = "outputs"  # what of the head is kept: its outputs, or all of it
    seed: int = 0
    compound: bool = False  # ratios of what each step finds, rounded down each time, as published scripts do
    max_map_drop: float | None = None
    sparsity: float = 0.0
    recalibrate: bool = False  # recalibrate the BatchNorm statistics after pruning
    repair: int | None = None  # images that the pruned weights are solved on; None: some where no fine-tuning follows
    schedule: str = "given"  # of the fine-tuning: as the command line has it, or scaled to what a step removed
    distill: float = 0.0  # weight of the distillation loss in fine-tuning (gradient-norm ratio)
    export: bool = True

    def as_dict(self) -> dict[str, Any]:
        """Plain values for the report."""
        return asdict(self)

    def as_flags(self) -> str:
        """The settings as a command line has them, without what is off. What no option asks for is not among them."""
        values = self.as_dict()
        hidden = {"compound", "export"} | ({"scope"} if self.sensitivity else set())
        if self.target_latency is not None:
            hidden |= {"target_macs", "round_to"}  # measured, not typed
        words = []
        for key, value in values.items():
            flag = "--" + key.replace("_", "-")
            off = value is None or value is False or (value == 0 and key in ("sparsity", "distill", "remove_blocks"))
            if key in hidden or off:
                continue
            many = value if isinstance(value, tuple) else (value,)
            words += [flag if value is True else f"{flag} {shlex.quote(str(each))}" for each in many]
        return " ".join([*words, *([] if self.export else ["--no-export"])])

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Settings:
        """The settings of a report.

        Raises:
            PruneError: a setting that this version does not know, which a run needs, or no such value.
        """
        known = {field.name: str(field.type) for field in fields(cls)}
        if unknown := [key for key in values if key not in known]:
            raise PruneError(f"the setting {unknown[0]} is not known to this version")
        kept: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in values.items()}
        for key, value in kept.items():
            if not _fits(value, known[key]):
                raise PruneError(f"{key} is {value!r}, which is no {known[key]}")
        return cls(**kept)

    def checked(self, *, measured: bool = False) -> Settings:
        """These settings, or PruneError naming the one that cannot be.

        Args:
            measured: a target_latency has been turned into the target_macs beside it: what a run records.
        """
        if self.prune_ratio is not None:
            within("--prune-ratio", self.prune_ratio, 0, 1, "the fraction of channels to remove", open_ends=True)
        targets = {"--target-macs": self.target_macs, "--target-params": self.target_params}
        for flag, value in targets.items():
            if value is not None:
                _check_target(flag, value)
        if self.target_latency is not None:
            within("--target-latency", self.target_latency, 0, 1, "a fraction of the dense time", open_ends=True)
            targets["--target-latency"] = self.target_latency
        if measured:
            targets.pop("--target-latency", None)
        given = [flag for flag, value in {"--prune-ratio": self.prune_ratio, **targets}.items() if value is not None]
        if len(given) > 1:
            raise PruneError(f"{' and '.join(given)} exclude each other: give one.")
        if self.deployed and self.target_macs is None and self.target_params is None:
            raise PruneError("--deployed says what a target refers to: give --target-macs or --target-params.")
        if self.max_map_drop is not None:
            within("--max-map-drop", self.max_map_drop, 0, 1, "a difference of mAP50-95")
        within("--distill", self.distill, 0, 10, "the weight of the distillation loss")
        within("--sparsity", self.sparsity, 0, 1, "the strength of the BN-L1 penalty")
        within("--seed", self.seed, 0, 2**32 - 1, "a seed")
        if self.repair is not None and self.repair < 0:
            raise PruneError(f"--repair {self.repair}: must be a number of images, or 0 for no repair.")
        within("--steps", self.steps, 1, MOST_STEPS, "pruning steps")
        chosen: dict[str, tuple[str, tuple[str, ...]]] = {
            "--importance": (self.importance, CRITERIA),
            "--scope": (self.scope, (*SCOPES, "sensitivity")),
            "--head": (self.head, HEADS),
            "--schedule": (self.schedule, SCHEDULES),
        }
        for flag, (word, known) in chosen.items():
            if word not in known:
                raise PruneError(f"{flag} {word}: one of {', '.join(known)}.")
        within("--remove-blocks", self.remove_blocks, 0, MOST_BLOCKS, "bottlenecks to remove")
        if self.remove_blocks and self.sensitivity:
            raise PruneError("--sensitivity and --remove-blocks exclude each other: the table is of the whole network.")
        counts = {"--round-to": self.round_to, "--min-channels": self.min_channels}
        for flag, count in counts.items():
            if count < 1:
                raise PruneError(f"{flag} {count}: must be 1 or more.")
        return self


def _check_target(flag: str, value: float) -> None:
    """PruneError for what is neither a fraction nor a number that a network can have: a percentage, or billions."""
    unit, name, least = (1e9, "billion MACs", 1e5) if flag == "--target-macs" else (1e6, "million parameters", 1e4)
    if not value > 0 or value == 1:
        raise PruneError(f"{flag} {value}: give a fraction of the dense network below 1 (0.5), or a number.")
    if 1 < value < least:
        percent = f", for {value:g}% of the dense network {flag} {value / 100:g}" if value < 100 else ""
        raise PruneError(
            f"{flag} {value:g}: neither a fraction below 1 nor a number of them that a network can have. "
            f"For {value:g} {name} type {flag} {value * unit:.0f}{percent}."
        )


def _fits(value: Any, kind: str) -> bool:
    """Whether a value read from a file is of a field's type; an int is a float, a bool is no number."""
    kinds = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,), "tuple[str, ...]": (tuple,)}
    allowed = [each for part in kind.split(" | ") if part in kinds for each in kinds[part]]
    if value is None:
        return "None" in kind
    if isinstance(value, tuple):
        return tuple in allowed and all(isinstance(name, str) for name in value)
    return type(value) in allowed


def within(flag: str, value: float, least: float, most: float, what: str, *, open_ends: bool = False) -> None:
    """PruneError unless value lies within; with open ends, strictly (which also refuses what is not a number)."""
    if not (least < value < most if open_ends else least <= value <= most):
        raise PruneError(f"{flag} {value}: must lie between {least} and {most} ({what}).")
