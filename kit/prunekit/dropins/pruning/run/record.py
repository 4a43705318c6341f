# SPDX-License-Identifier: AGPL-3.0-or-later
"""The record of a run: one `report.json`, written whole after each step, read back by `--resume`.

Schema 1, the same in every fork: docs/schemas/report.json. Paths are relative to the run folder where they lie in it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import PruneError
from ..failures import reason_of
from ..family.contract import Metrics
from ..files import write_json
from ..planning.depth import BlockEntry
from ..planning.plan_file import block_entry
from ..settings import Settings

SCHEMA = 1
REPORT = "report.json"
_TEXT, _DENSE = (str, type(None)), {"params", "macs", "map50", "map50_95"}
_STEP, _NUMBERS = {*_DENSE, "step", "checkpoint", "kept"}, {*_DENSE, "step"}
_KINDS: dict[str, Any] = {
    "family": str,
    "weights": str,
    "arguments": dict,
    "image": int,
    "status": str,
    "dense": dict,
    "digest": str,
    "plan": _TEXT,
    "skipped": int,
    "sparse": _TEXT,
    "steps": list,
    "final": dict,
    "latency": dict,
    "timing": dict,
    "proof": dict,
    "blocks": list,
    "shallow": _TEXT,
    "shallow_repair": dict,
}


@dataclass
class State:
    """What a run has done so far."""

    folder: Path
    settings: Settings
    family: str
    weights: str
    arguments: dict[str, Any]
    image: int = 0
    status: str = "running"
    dense: dict[str, Any] = field(default_factory=dict)
    digest: str = ""  # SHA-256 of the weights: a run goes on with the network that it began with
    plan: str | None = None  # an edited plan that is replayed
    skipped: int = 0  # steps at which rounding left nothing to remove
    sparse: str | None = None
    latency: dict[str, Any] = field(default_factory=dict)  # what --target-latency reached, measured
    timing: dict[str, Any] = field(default_factory=dict)  # of the finished run's networks, beside each other
    steps: list[dict[str, Any]] = field(default_factory=list)
    final: dict[str, Any] = field(default_factory=dict)
    proof: dict[str, Any] = field(default_factory=dict)  # of the last step: pruned equals masked, and what it took
    blocks: list[dict[str, Any]] = field(default_factory=list)  # that lose bottlenecks first
    shallow: str | None = None  # the network without them
    shallow_repair: dict[str, Any] = field(default_factory=dict)

    def save(self) -> None:
        """Write the record whole; a kill leaves the one before."""
        values = {key: value for key, value in vars(self).items() if key not in ("folder", "settings")}
        table = self.settings.sensitivity
        settings = replace(self.settings, sensitivity=self.relative(Path(table)) if table else table)
        write_json(self.folder / REPORT, {"schema": SCHEMA, **values, "settings": settings.as_dict()})

    @classmethod
    def load(cls, folder: Path) -> State:
        """Read the record of an earlier run.

        Raises:
            PruneError: the folder holds no run, or one of another version.
        """
        path = folder / REPORT
        if not path.is_file():
            raise PruneError(f"--resume {folder}: no {REPORT} in it, so no pruning run to go on with. Start a new run.")
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            schema, settings = values.pop("schema"), Settings.from_dict(values.pop("settings"))
            settings = settings.checked(measured=bool(values.get("latency")))
            if settings.sensitivity and (folder / settings.sensitivity).is_file():  # the run's own copy
                settings = replace(settings, sensitivity=str(folder / settings.sensitivity))
            state = cls(folder=folder, settings=settings, **values)
            state._check_types()
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError, PruneError) as error:
            raise PruneError(f"{path}: not a pruning report ({reason_of(error)}). Start a new run.") from error
        if schema != SCHEMA:
            raise PruneError(f"{path}: schema {schema}, this fork reads {SCHEMA}. Resume with the fork that began it.")
        return state

    def _check_types(self) -> None:
        """TypeError, naming the key, where a record holds something else than `save` writes."""
        for key, kinds in _KINDS.items():
            if not isinstance(getattr(self, key), kinds):
                raise TypeError(f"{key} is {getattr(self, key)!r}")
        self.entries()
        for row, keys in ((self.dense, _DENSE), *((step, _STEP) for step in self.steps)):
            if (row and not isinstance(row, dict)) or ((row or row is not self.dense) and not keys <= row.keys()):
                raise TypeError(f"dense or a step lacks one of {', '.join(sorted(keys))}")
            if not isinstance(row.get("checkpoint", ""), str) or not isinstance(row.get("kept", True), bool):
                raise TypeError("the checkpoint of a step is no path, or kept is neither true nor false")
            if any(not isinstance(row[key], (int, float)) for key in row.keys() & _NUMBERS):
                raise TypeError(f"one of {', '.join(sorted(_NUMBERS))} is not a number")

    def entries(self) -> tuple[BlockEntry, ...]:
        """The blocks that lose bottlenecks before anything else."""
        return tuple(block_entry(block, str(self.folder / REPORT)) for block in self.blocks)

    def measures(self) -> tuple[str, str]:
        """What the loose and the strict accuracy are called in this run's task."""
        loose, strict = self.dense.get("measures", Metrics.labels)
        return loose, strict

    def path(self, name: str) -> Path:
        """A recorded path, made absolute."""
        return self.folder / name

    def checkpoints(self) -> list[Path]:
        """The networks of this run that going on with it will load.

        Raises:
            PruneError: the record names one outside the run folder, which a run never writes, or one that is gone.
        """
        last, kept = self.steps[-1:], [step for step in [self.last_kept()] if step]
        begun = self.sparse or self.shallow
        names = [str(step["checkpoint"]) for step in (*last, *kept)] or ([begun] if begun else [])
        for name in names:
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise PruneError(
                    f"{self.folder / REPORT} names {name}, which is not a network of this run. Start a new run."
                )
            if not self.path(name).is_file():
                raise PruneError(f"{self.path(name)}, a network of this run, is gone. Start a new run.")
        return list(dict.fromkeys(self.path(name) for name in names))

    def relative(self, path: Path) -> str:
        """A path as it is recorded: relative to the run folder if it lies in it."""
        resolved = path.resolve()
        folder = self.folder.resolve()
        return str(resolved.relative_to(folder)) if resolved.is_relative_to(folder) else str(resolved)

    def last_kept(self) -> dict[str, Any] | None:
        """The last step whose accuracy stayed within the limit."""
        return next((step for step in reversed(self.steps) if step["kept"]), None)
