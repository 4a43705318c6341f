# SPDX-License-Identifier: AGPL-3.0-or-later
"""docs/schemas.md from docs/schemas/*.json, which the tests hold real records against.

python docs/make_schemas.py --write
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
PAGE = DOCS / "schemas.md"
FILES = {  # by schema: who writes it
    "report": "`prune.py`, `prune_one_shot.py`, `yolo11_pruning.py`; [what else a run leaves](report.md)",
    "plan": "`prune.py --plan-only` and each step; [the plan](how-it-works.md#the-plan)",
    "width-block": "every run, in `pruned.yaml`, under `prunekit`; [what it is for](series.md#the-width-block)",
    "quantify": "`quantify.py`; [INT8](quantify.md)",
    "deploy": "`deploy.py`; [deploy](howto/deploy.md)",
    "sensitivity": "`sensitivity.py`; a run with `--sensitivity` keeps a copy as `sensitivity_table.json`",
    "comparison": "`prunekit demo`; [the demo](demo.md)",
}
HEADS = {"width-block": "The width block", "sensitivity": "Sensitivity table", "plan": "Plan"}
HEAD = """# File schemas

Look up here what stands in the files that programs can read. Made from the [JSON Schema](https://json-schema.org) files
in `docs/schemas/` by `python docs/make_schemas.py --write`; do not edit. The tests hold real records against them.

Within a version (`schema`, `version`) keys are only added: a program should ignore keys that it does not know. Paths
are relative to the folder of the file where they lie in it. An optional key may be missing.
"""
FOOT = """## Other files

| file | written by | described in |
|---|---|---|
| `pruned_model.yaml` (YOLOv7) | `generate_prune_yaml.py` | [YOLOv7: a pruned network as YAML](pruned-yaml.md) |
| one JSON document on standard output | `prunekit ... --json` | [the tool](tool.md) |
"""


def rows(schema: dict[str, Any], above: str = "") -> Iterator[tuple[str, str, str]]:
    """(key, type, meaning) of each key, those below it behind it."""
    for name, one in schema.get("properties", {}).items():
        key, optional = above + name, "" if name in schema.get("required", ()) else ", optional"
        yield f"`{key}`", _type(one) + optional, one["description"]
        yield from rows(one, f"{key}.")
        yield from rows(one.get("items", {}), f"{key}[].")
        if isinstance(below := one.get("additionalProperties"), dict):
            yield from rows(below, f"{key}.NAME.")


def _type(one: dict[str, Any]) -> str:
    """A key's type in words, or the values that it can have."""
    if "enum" in one:
        return ", ".join(f"`{value}`" for value in one["enum"])
    if "const" in one:
        return f"{one['const']}"
    return one["type"] if isinstance(one["type"], str) else " or ".join(one["type"])


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for name, writer in FILES.items():
        schema = json.loads((DOCS / "schemas" / f"{name}.json").read_text(encoding="utf-8"))
        parts.append(f"## {HEADS.get(name, schema['title'])}\n")
        parts.append(f"{schema['title']}. Written by {writer}. Schema: [{name}.json](schemas/{name}.json).\n")
        parts.append("| key | type | meaning |\n|---|---|---|")
        parts.append("\n".join(f"| {' | '.join(it)} |" for it in rows(schema)) + "\n")
    return "\n".join([*parts, FOOT])


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        print(page(), end="")
