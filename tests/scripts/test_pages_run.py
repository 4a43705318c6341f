# SPDX-License-Identifier: AGPL-3.0-or-later
"""The commands of README and the pages run, one after the other as a reader types them, in one fork on tiny data.

What makes them small is all that is changed: epochs, image size, no pictures; only the first run is whole, with its
export, charts and page. `tests/docs` parses every line; lines that are not run here are run where `ELSEWHERE` says.
"""

from __future__ import annotations

import importlib.util
import shlex
import shutil
from pathlib import Path
from types import ModuleType

import pytest
from workshop import Workshop

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
TESTS = Path(__file__).parents[1]
PAGES = (
    "README.md",
    "tutorial.md",
    "slimming.md",
    "without-labels.md",
    "own-modules.md",
    "quantify.md",
    "resume.md",
    "deploy.md",
)
QUICK = "--imgsz 64 --batch 8 --device cpu --workers 0 --plots False --val False".split()
SMALL = {
    "prune.py": QUICK,
    "prune_one_shot.py": QUICK,
    "train_sparse.py": QUICK,
    "inspect_bn.py": [],
    "latency.py": "--rounds 6 --limit 1".split(),
    "quantify.py": "--imgsz 64 --device cpu --workers 0".split(),
}
INSTEAD = {"--epochs": "1", "--imgsz": "64", "--steps": "2", "--repair": "8"}
FOLDERS = {"RUN": "runs/detect/prune"}  # the word that stands for a folder: the first run's
ELSEWHERE = {
    "python deploy.py": "scripts/test_learned.py::test_deploy_is_one_command",
    "python train_sparse.py --resume": "series/test_sparse_scripts.py::test_interrupted",
    "python prune.py --help": "scripts/test_devices.py::test_published_arguments",
    "python generate_prune_yaml.py": "v7/test_yaml_seven.py::test_published_lines",
    "python reparameterize.py": "v7/test_yaml_seven.py::test_the_yaml_trains_prunes_again_and_deploys",
}


def pages_module() -> ModuleType:
    """tests/docs/pages.py, which reads commands off a page."""
    spec = importlib.util.spec_from_file_location("pages_of_docs", TESTS / "docs/pages.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def typed() -> list[list[str]]:
    """[script, word, ...] of each line of the pages, in their order, made small; once where the words are the same."""
    pages = pages_module()
    texts = {page.name: page.read_text(encoding="utf-8") for page in pages.pages()}
    lines = []
    for page in PAGES:
        for line in pages.commands(texts[page]):
            if line.startswith("prunekit ") or any(line.startswith(it) for it in ELSEWHERE):
                continue
            _, script, *words = (FOLDERS.get(word, word) for word in shlex.split(line))
            for flag, value in INSTEAD.items():
                if flag in words and words[words.index(flag) + 1] != "0":
                    words[words.index(flag) + 1] = value
            lines.append([script, *words, *([] if "--resume" in words else SMALL[script])])
    return [line for at, line in enumerate(lines) if sorted(line) not in map(sorted, lines[:at])]


def as_at_home(workshop: Workshop, folder: Path) -> Workshop:
    """The workshop without pytest's mark and with new settings: upstream puts runs elsewhere by either of them."""
    shutil.copytree(workshop.env["YOLO_CONFIG_DIR"], folder, ignore=shutil.ignore_patterns("*.json", "*.yaml"))
    env = {name: value for name, value in workshop.env.items() if not name.startswith("PYTEST_")}
    return Workshop(workshop.root, {**env, "YOLO_CONFIG_DIR": str(folder)})


def test_the_commands_of_the_pages(workshop: Workshop, tiny_set: Path, tmp_path: Path) -> None:
    """Each ends well, and what the pages promise is there in the end."""
    workshop = as_at_home(workshop, tmp_path / "config")
    lines = typed()
    assert len(lines) > 10
    shutil.copy(tiny_set, workshop.root / "my.yaml")
    workshop.small()
    workshop.python(*lines[0])
    others = [[*line, "--no-export"] if line[0] == "prune_one_shot.py" else line for line in lines[1:]]
    runs = workshop.lines(*others, bare=True)
    assert not [(line, said[-1500:]) for line, (code, said) in zip(others, runs, strict=True) if code]
    for name in ("pruned.pt", "pruned.yaml", "pruned.onnx", "report.html"):
        assert (workshop.root / "runs/detect/prune" / name).is_file(), name


@pytest.mark.parametrize("place", ELSEWHERE.values())
def test_what_is_not_run_here_is_run_there(place: str) -> None:
    file, _, name = place.partition("::")
    assert f"def {name}(" in (TESTS / file).read_text(encoding="utf-8")
