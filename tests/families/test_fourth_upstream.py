# SPDX-License-Identifier: AGPL-3.0-or-later
"""A fourth upstream, from `pins add` to a pruned checkpoint, and no line of the kit changed for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from plaingit import git
from toyworld import NAME, World

# Scripts as a user starts them, one after the other in one process: most of a script's time is importing torch.
DRIVER = """
import json, runpy, sys
for words in json.loads(sys.argv[1]):
    sys.argv = words
    try:
        runpy.run_path(words[0], run_name="__main__")
    except SystemExit as stop:
        assert not stop.code, (words, stop.code)
    except KeyError as error:
        print("KeyError", error)
"""
REBUILD = """
import sys, torch
from net.model import Net
built = Net("made/pruned/pruned.yaml").eval()
widths = [m.out_channels for m in built.modules() if isinstance(m, torch.nn.Conv2d)]
for weights in ("made/pruned/pruned.pt", "made/tuned/weights/last.pt"):
    saved = torch.load(weights, weights_only=False)["model"].float().eval()
    built.load_state_dict(saved.state_dict(), strict=True)
    image = torch.rand(1, 3, 64, 64)
    total = sum(p.numel() for p in built.parameters())
    print("REBUILT", float((built(image) - saved(image)).abs().max()), total, *widths)
"""
DENSE = [32, 64, 64, 64, 7]
TRAIN = ("train.py", "--data", "cfg/squares.yaml", "--project", "made")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The upstream, added to a copy of the kit, and its fork."""
    made = World(tmp_path_factory.mktemp("toy"))
    made.add()
    return made


def test_only_the_upstreams_own_files_are_new(world: World) -> None:
    """Pin, manifest, series and drop-ins are all: what `pins add` wrote is the one file of the kit that changed."""
    git(world.kit, "add", "-A")
    first = git(world.kit, "rev-list", "--max-parents=0", "HEAD")
    rows = [row.split("\t") for row in git(world.kit, "diff", "--cached", "--name-status", first).splitlines()]
    assert [path for state, path in rows if state != "A"] == ["pinned_commits.yaml"]
    new = [path for state, path in rows if state == "A"]
    assert {path.rpartition("/")[0].split("/prunekit_toy")[0] for path in new} == {
        "manifests",
        f"patches/{NAME}",
        f"dropins/{NAME}",
    }
    assert [row.split()[1] for row in world.prunekit("patches", "list", NAME).splitlines()[1:]] == ["1", "2", "3"]
    assert f"{NAME} " in world.prunekit("list") and f"{NAME} " in world.prunekit("pins", "show")
    assert "as set up" in world.prunekit("status", world.fork)
    world.prunekit("verify", world.fork)


@pytest.mark.slow
def test_from_training_to_a_pruned_checkpoint(world: World, tmp_path: Path) -> None:
    """Train under the penalty, prune, fine-tune by upstream's own command, rebuild strictly; a stock one refuses."""
    run = world.fork / "made" / "pruned"
    (world.fork / "rebuild.py").write_text(REBUILD)
    sparse = "--cfg cfg/toy.yaml --epochs 4 --sparsity 0.001 --name dense"
    prune = "prune.py --weights made/dense/weights/best.pt --target-macs 0.5 --scope local --epochs 3"
    prune += " --project made --name pruned"
    tune = f"--weights {run / 'pruned.pt'} --epochs 1 --name tuned"
    words = [[*TRAIN, *sparse.split()], prune.split(), [*TRAIN, *tune.split()], ["rebuild.py"]]
    said = world.python("-c", DRIVER, json.dumps(words))
    report = json.loads((run / "report.json").read_text())
    dense, last = report["dense"], report["steps"][-1]
    assert "BN-L1 0.001 on gamma" in said and "Proof: pruned equals masked" in said
    assert last["macs"] / dense["macs"] == pytest.approx(0.5, abs=0.01)
    assert dense["map50"] > 0.8 and last["map50"] > 0.8, (dense, last)
    assert (run / "pruned.onnx").is_file() and report["final"]["onnx_max_error"] < 1e-4
    assert f"pruned structure kept: 9 layers resized, {last['params']:,} parameters" in said
    rows = [row.split()[1:] for row in said.splitlines() if row.startswith("REBUILT")]
    for difference, params, *widths in rows:
        assert float(difference) == 0 and int(params) == last["params"] < 0.6 * dense["params"]
        assert [int(now) < was for now, was in zip(widths, DENSE, strict=True)] == [True] * 4 + [False]
    assert len(rows) == 2
    _stock_refuses(world, run)
    _lost_hooks_are_refused(world, tmp_path)


def _stock_refuses(world: World, run: Path) -> None:
    """An upstream without the series validates the checkpoint, and builds nothing from the YAML."""
    words = [["val.py", "--weights", f"{run / 'pruned.pt'}"], [*TRAIN, "--cfg", f"{run / 'pruned.yaml'}"]]
    said = world.python("-c", DRIVER, json.dumps(words), folder=world.origin)
    assert "map50" in said.splitlines()[0] and "only a prunekit fork can build this network" in said.splitlines()[-1]


def _lost_hooks_are_refused(world: World, folder: Path) -> None:
    """Before anything is made."""
    place = world.fork / "net" / "model.py"
    place.write_text(place.read_text().replace("    hooks.keep_structure(layers, d)\n", ""))
    said = world.python("prune.py", "--weights", "made/dense/weights/best.pt", "--project", folder / "none", code=2)
    assert "has lost prunekit's hooks (keep_structure)" in said and "Traceback" not in said
    assert not (folder / "none").exists()
