# SPDX-License-Identifier: AGPL-3.0-or-later
"""A fourth upstream as a maintainer adds it: its repository, a copy of the kit, its series, its adapter, a fork.

`toy/upstream` is the upstream, `toy/dropins` what the kit gets for it; the series is made as CONTRIBUTING.md says, by
editing a checkout.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import prunekit
from plaingit import git

HERE = Path(__file__).parent / "toy"
ROOT = Path(__file__).parents[2]
NAME = "toydet"
ABOUT = "What: {}.\n\nWhy: pruning needs it.\n\nRetire when: upstream does it."
TOGETHER = "from prunekit_toy import hooks\n"
# (subject, [(file, a piece of it that stands there once, what takes its place)])
SERIES = (
    (
        "AMP off in training",
        [("train.py", "torch.bfloat16):", "torch.bfloat16, enabled=False):")],
    ),
    (
        "BN-L1 penalty on BatchNorm scales",
        [
            ("train.py", "from net.model import Net\n", f"from net.model import Net\n{TOGETHER}"),
            ("train.py", "    return parser.parse", "    hooks.sparsity_arguments(parser)\n    return parser.parse"),
            (
                "train.py",
                "            optimizer.step()\n",
                "            hooks.bn_l1(model, opt, epoch, opt.epochs, optimizer)\n            optimizer.step()\n",
            ),
        ],
    ),
    (
        "Keep the pruned structure on every rebuild",
        [
            (
                "net/model.py",
                "    layers, widths = [], []\n",
                f"    {TOGETHER}\n    d = hooks.open_structure(d)\n    layers, widths = [], []\n",
            ),
            (
                "net/model.py",
                "    return nn.Sequential(*layers)\n",
                "    hooks.keep_structure(layers, d)\n    return nn.Sequential(*layers)\n",
            ),
        ],
    ),
)


def environment() -> dict[str, str]:
    """The variables of all programs: nobody's git configuration, one thread, modules where they lie."""
    quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    tool = os.pathsep.join([str(Path(prunekit.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, **quiet, "PYTHONPATH": tool, "PYTHONDONTWRITEBYTECODE": "1"}


def ran(command: list[str | Path], folder: Path, code: int = 0) -> str:
    """Run a program; its output, stdout and stderr together."""
    done = subprocess.run(
        [*map(str, command)],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == code, f"{command}: exit {done.returncode}\n{done.stdout}"
    return done.stdout


def committed(folder: Path, message: str) -> Path:
    """Make a folder a repository with all that lies in it."""
    git(folder, "init", "--quiet")
    git(folder, "add", "-A")
    git(folder, "commit", "--quiet", "-m", message)
    for key in ("allowFilter", "allowAnySHA1InWant"):
        git(folder, "config", f"uploadpack.{key}", "true")
    return folder


class World:
    """Folders of the walk from `pins add` to a fork, and the tool as its user types it."""

    def __init__(self, root: Path) -> None:
        self.root, self.kit, self.fork = root, root / "kit", root / "fork"
        self.origin = committed(Path(shutil.copytree(HERE / "upstream", root / NAME)), "toydet 1.0")
        self.kit.mkdir()
        shutil.copyfile(ROOT / "pinned_commits.yaml", self.kit / "pinned_commits.yaml")
        for name, source in (("patches", ROOT), ("manifests", ROOT), ("dropins", Path(prunekit.__file__).parent)):
            shutil.copytree(source / name, self.kit / name, ignore=shutil.ignore_patterns("__pycache__"))
        committed(self.kit, "the kit")

    def prunekit(self, *words: str | Path) -> str:
        """Run the tool on the copy of the kit."""
        return ran([sys.executable, "-m", "prunekit", "--kit", self.kit, *words], self.root)

    def python(self, *words: str | Path, folder: Path | None = None, code: int = 0) -> str:
        """Run a Python program in the fork."""
        return ran([sys.executable, *words], folder or self.fork, code)

    def write_series(self) -> None:
        """Edit a checkout of the series, a commit a patch, and export it into the kit."""
        self.prunekit("patches", "checkout", NAME)
        series = self.root / "series" / NAME
        for subject, edits in SERIES:
            for path, old, new in edits:
                text = (series / path).read_text()
                assert text.count(old) == 1, f"{path}: {old!r} is there {text.count(old)} times"
                (series / path).write_text(text.replace(old, new))
            git(series, "commit", "--quiet", "-am", f"{subject}\n\n{ABOUT.format(subject)}")
        self.prunekit("patches", "export", series)

    def add(self) -> None:
        """All that a maintainer does for a new upstream, up to its fork."""
        self.prunekit("pins", "add", self.origin.as_uri())
        self.write_series()
        shutil.copytree(HERE / "dropins", self.kit / "dropins" / NAME)
        self.prunekit("setup", NAME, self.fork)
