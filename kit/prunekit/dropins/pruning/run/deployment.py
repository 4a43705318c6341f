# SPDX-License-Identifier: AGPL-3.0-or-later
"""The record of deploy.py: deploy.json, schema 1 (docs/howto/deploy.md), written whole, read back by `--resume`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import PruneError
from ..failures import reason_of
from ..files import write_json
from ..settings import Settings
from .int8_request import Request
from .ladder import Row

SCHEMA, RECORD = 1, "deploy.json"
WAYS = ("", "prune", "enough", "beyond")
_KINDS = {"status": str, "family": str, "weights": str, "digest": str, "arguments": dict, "way": str, "said": str}


@dataclass
class Deployment:
    """What a deployment was asked, and what it has done so far.

    Attributes:
        settings: of the pruning; what `target_latency` came to is in them once `way` is "prune".
        way: "": not settled; "prune"; "enough": the dense network's INT8 file meets the target; "beyond": nothing does.
        said: why, for the last two.
    """

    folder: Path
    settings: Settings
    request: Request
    family: str
    weights: str
    digest: str
    arguments: dict[str, Any]
    status: str = "running"
    way: str = ""
    said: str = ""
    latency: dict[str, Any] = field(default_factory=dict)
    measures: list[str] = field(default_factory=list)
    image: int = 0
    ladder: list[Row] = field(default_factory=list)
    chosen: dict[str, Any] = field(default_factory=dict)

    def save(self) -> None:
        """Write the record whole."""
        values = {key: value for key, value in vars(self).items() if key not in ("folder", "settings", "request")}
        parts = {"settings": self.settings.as_dict(), "request": asdict(self.request)}
        write_json(self.folder / RECORD, {"schema": SCHEMA, **values, **parts})

    @classmethod
    def load(cls, folder: Path) -> Deployment:
        """Read a record back.

        Raises:
            PruneError: the folder holds none, or one of another version.
        """
        path = folder / RECORD
        if not path.is_file():
            raise PruneError(f"--resume {folder}: no {RECORD} in it, so nothing to go on with. Begin a new one.")
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            schema, request = values.pop("schema"), Request(**values.pop("request")).checked()
            settings = Settings.from_dict(values.pop("settings")).checked(measured=bool(values.get("latency")))
            state = cls(folder=folder, settings=settings, request=request, **values)
            state._check_types()
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError, PruneError) as error:
            raise PruneError(
                f"{path}: not a record of deploy.py ({reason_of(error)}). Begin a new deployment."
            ) from error
        if schema != SCHEMA:
            raise PruneError(f"{path}: schema {schema}, this fork reads {SCHEMA}. Resume with the fork that began it.")
        return state

    def row(self) -> Row:
        """The chosen file's row of a finished deployment."""
        return next(row for row in self.ladder if row["name"] == self.chosen["name"])

    def _check_types(self) -> None:
        """TypeError or KeyError where a record holds something else than `save` writes."""
        if wrong := [key for key, kind in _KINDS.items() if not isinstance(getattr(self, key), kind)]:
            raise TypeError(f"{wrong[0]} is {getattr(self, wrong[0])!r}")
        if self.way not in WAYS:
            raise TypeError(f"way is {self.way!r}")
        if self.status != "running":
            names = [row["name"] for row in self.ladder if row["ratio"] > 0]
            if self.chosen["name"] not in names or not isinstance(self.chosen["file"], str):
                raise TypeError(f"chosen is {self.chosen!r}")
