# SPDX-License-Identifier: AGPL-3.0-or-later
"""YOLOv7 networks in the engine: published counts, pruned equals masked, a rebuild that computes the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from home_seven import HERE, YAMLS, Home

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
QUESTIONS = HERE / "networks_seven.py"
ROOT = HERE.parents[1]
CASES = next((d for d in (ROOT.parent / "shared" / "cases", ROOT / "shared" / "cases") if d.is_dir()), None)
# Width, scopes. e6e has what e6 and d6 have, and more. A narrow one takes a third of the time.
NETWORKS = {
    "training/yolov7-tiny": ("1", ("local", "global")),
    "training/yolov7": ("0.5", ("local", "global")),
    "training/yolov7x": ("0.25", ("global",)),
    "training/yolov7-w6": ("0.25", ("local",)),
    "training/yolov7-e6e": ("0.25", ("global",)),
}
AUX = ("-w6", "-e6e")
ROW = "Conv, [128, 1, 1]]"
OWN = {  # rows that upstream's parser knows and none of its YAMLs has, in the place of a small one's
    "contract": ("MP, []", "Contract, [2]"),
    "chuncat": ("Concat, [1]", "Chuncat, [1]"),
    "foldcut": (ROW, "Foldcut, [1]]"),
    "stcspc": (ROW, "STCSPC, [128]]"),
}
COMPARED = {"contract": 350, "chuncat": 358, "foldcut": 342, "stcspc": 486}  # inputs and outputs of modules


@pytest.fixture(scope="module")
def here(fork7: Path, copy7: Callable[[Path], Home]) -> Home:
    """A fork to ask questions in."""
    return copy7(fork7)


@pytest.mark.skipif(CASES is None, reason="no ../shared/cases here")
def test_the_shared_case_of_own_rows(here: Home) -> None:
    """Its own check: pruned equals masked, and a rebuild computes the same; engine/test_cases.py has the others."""
    case = CASES / "15-v7-own-rows"
    files = sorted(case.glob("*.yaml"))
    said = here.python(case / "check.py", *files, TESTS_ENGINE=str(HERE.parent / "engine"))
    errors = [float(line.split()[-1]) for line in said.splitlines() if line.startswith("pruned vs masked")]
    assert len(files) == said.count("rebuild 0.0\n") == len(errors) == 3 and max(errors) < 1e-12, said


def test_counts(here: Home, tmp_path: Path) -> None:
    """The published figures of the deploy form, fused, and of the training form, to the last digit."""
    deploy, training = here.ask(
        QUESTIONS, ("published", "deploy/yolov7", "fused"), ("published", "training/yolov7", ""), cwd=tmp_path
    )
    assert deploy == [6_413_721_083, 36_905_341, 1_639_894_907, 9_347_133]
    assert training == [6_501_867_771, 37_622_682, 1_664_700_667, 9_534_154]


@pytest.mark.parametrize("cfg", NETWORKS)
def test_pruned_equals_masked_and_rebuilt(here: Home, tmp_path: Path, cfg: str) -> None:
    """Local and global LAMP, boxes and training form (auxiliary branches too), float64; fused within 1e-5.

    No class but upstream's and torch's is in them. After two prunings, through a YAML file and back: strict load, zero
    difference, the anchors as they were moved, fewer parameters.
    """
    width, scopes = NETWORKS[cfg]
    equal = [("equivalence", cfg, scope, width) for scope in scopes]
    *answers, rebuilt = here.ask(QUESTIONS, *equal, ("rebuilt", cfg, width, "local", "global"), cwd=tmp_path)
    levels = 4 if cfg.endswith(AUX) else 3
    for apart, fused, removed, outputs, kinds in answers:
        assert apart < 1e-12 and fused < 1e-5 and removed > 3000 * float(width) and kinds == ["models", "torch"]
        assert outputs == [1 + levels, levels * 2 if cfg.endswith(AUX) else levels]
    off, anchors, dense, once, twice = rebuilt
    assert off == 0.0 and anchors == 0.0 and dense > once > twice


def test_deploy_forms(here: Home, tmp_path: Path) -> None:
    """The YAMLs without implicit knowledge and auxiliary branches prune and rebuild as well."""
    networks = (("deploy/yolov7-tiny", "1"), ("deploy/yolov7-w6", "0.25"))
    asked = [q for cfg, w in networks for q in (("equivalence", cfg, "global", w), ("rebuilt", cfg, w, "local"))]
    answers = here.ask(QUESTIONS, *asked, cwd=tmp_path)
    for (cfg, _), equal, rebuilt in zip(networks, answers[::2], answers[1::2], strict=True):
        assert equal[0] < 1e-12 and rebuilt[:2] == [0.0, 0.0], cfg


def test_rows_that_regroup_channels(here: Home, tmp_path: Path) -> None:
    """Each is pruned exactly: what feeds a row that regroups, folds or attends keeps its channels, the rest goes."""
    own = here.root / "cfg" / "own"
    own.mkdir()
    plain = YAMLS["small"]
    for name, (row, other) in OWN.items():
        assert row in plain
        (own / f"{name}.yaml").write_text(plain.replace(row, other))
    questions = [
        (asked, f"own/{name}", *more) for name in OWN for asked, *more in (["proved"], ["rebuilt", "1", "local"])
    ]
    answers = here.ask(QUESTIONS, *questions, cwd=tmp_path)
    for name, (error, tensors, opaque), (off, anchors, *_) in zip(OWN, answers[::2], answers[1::2], strict=True):
        assert error < 1e-12 and tensors == COMPARED[name] and opaque == [] and off == anchors == 0.0, name


def test_a_network_that_could_not_be_rebuilt_once_pruned(here: Home, tmp_path: Path) -> None:
    """Told before a run, with the option that keeps what cannot be; with it, or more channels, there is nothing."""
    ((refused, *fine),) = here.ask(QUESTIONS, ("told",), cwd=tmp_path)
    assert "own.pt: pruned, this network could not be rebuilt from its YAML (structure: 1 tensors" in refused
    assert refused.endswith("Keep these channels: --ignore model.2.cv") and fine == ["", ""]
