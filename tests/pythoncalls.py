# SPDX-License-Identifier: AGPL-3.0-or-later
"""`prune.run` of a YOLOv5 or YOLOv7 fork as a user's program calls it, from a folder that is not the fork's.

`python pythoncalls.py FORK WEIGHTS DATA RUN KEYWORDS NAME...`; RUN is what the script has made with the same settings,
KEYWORDS are JSON, and a run is made under each NAME. The line on which ANSWERS stands holds what came of the calls.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

MADE = ("step1_pruned.pt", "pruned.pt")


def refusal(**keywords: Any) -> str:
    """What a call is refused with."""
    try:
        prune.run(**keywords)
    except PruneError as error:
        return str(error)
    return "it ran"


def unequal(one: Path, other: Path) -> list[str]:
    """The tensors in which two checkpoints differ."""
    first, second = (torch.load(path, weights_only=False)["model"].state_dict() for path in (one, other))
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])]


def answers(weights: str, data: str, script: Path, keywords: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Refusals, then the script's run under each name, its record read again, and a plan."""
    given = {"weights": Path(weights), "data": Path(data)}
    wrong = (
        {"target_mac": 0.5},
        {"epoch": 3},
        {"target_macs": 2},
        {"export": False},
        {"evolve": True},
        {"no_export": 1},
    )
    said = [refusal(**given, **words) for words in wrong]
    said += [refusal(weights="gone.pt", data=data), refusal(weights=weights, data="gone.yaml"), refusal()]
    torch.rand(7)  # a program has used the generator; the run has a seed of its own
    runs = [prune.run(**given, **keywords, project="calls", name=name) for name in names]
    planned = prune.run(**given, keep=0.8, plan_only=True, project="calls", name="plan")
    return {
        "said": said,
        "differ": [unequal(script / name, run.folder / name) for run in runs for name in MADE],
        "run": {key: value for key, value in vars(runs[0]).items() if key != "steps"},
        "same": prune.run(resume=runs[0].folder) == runs[0],
        "planned": [planned.status, planned.path, planned.plan, planned.macs_after / planned.macs_before],
        "path": sys.path[-1],
    }


if __name__ == "__main__":
    root, network, data_yaml, made, words = sys.argv[1:6]
    run_names = sys.argv[6:]
    sys.argv = ["ipykernel_launcher.py", "-f", "kernel-1.json"]
    sys.path.append(root)  # after the standard library, which has a module `test`, too
    import prune
    import torch
    from pruning.errors import PruneError

    torch.set_num_threads(1)
    print("\nANSWERS" + json.dumps(answers(network, data_yaml, Path(made), json.loads(words), run_names), default=str))
