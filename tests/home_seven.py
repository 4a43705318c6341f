# SPDX-License-Identifier: AGPL-3.0-or-later
"""A fork of YOLOv7, the forks on the way to it, the pristine upstream, and the packages that all of them need.

`HERE` and `SERIES` are where its tests and its patches lie; `Home` is a YOLOv7 folder, fork or pristine. `small` is for
tests that are about no published network: a run takes half the time that it takes on yolov7-tiny.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import badlines
import pytest
from forkhome import Home, copied, packages, set_up

__all__ = ["CHARTLESS", "HERE", "SERIES", "YAMLS", "Home", "small", "small_rows", "typed"]
HERE = Path(__file__).parent / "v7"
CHARTLESS = HERE / "chartless.py"
KIT = Path(os.environ.get("PRUNEKIT_KIT") or HERE.parents[1])  # another one while `pins update` tries it
SERIES = KIT / "patches" / "yolov7"
PACKAGES = ("seaborn>=0.11.0", "tqdm>=4.66.3")
YAMLS = {
    # Every kind of row that yolov7-tiny has, and yolov7's RepConv, with and without its identity branch.
    "small": """
nc: 80
depth_multiple: 1.0
width_multiple: 1.0
anchors:
  - [10,13, 16,30, 33,23]
  - [30,61, 62,45, 59,119]
backbone:
  - [-1, 1, Conv, [32, 3, 2, None, 1, nn.LeakyReLU(0.1)]]
  - [-1, 1, Conv, [64, 3, 2, None, 1, nn.LeakyReLU(0.1)]]
  - [-1, 1, Conv, [32, 1, 1]]
  - [-2, 1, Conv, [32, 1, 1]]
  - [-1, 1, Conv, [32, 3, 1]]
  - [[-1, -2, -3], 1, Concat, [1]]
  - [-1, 1, Conv, [64, 1, 1]]
  - [-1, 1, MP, []]
  - [-1, 1, Conv, [128, 3, 1]]
  - [-1, 1, MP, []]
  - [-1, 1, Conv, [128, 3, 1]]
head:
  - [-1, 1, Conv, [64, 1, 1]]
  - [-1, 1, SP, [5]]
  - [-2, 1, SP, [9]]
  - [[-1, -2, -3], 1, Concat, [1]]
  - [-1, 1, Conv, [128, 1, 1]]
  - [-1, 1, nn.Upsample, [None, 2, "nearest"]]
  - [8, 1, Conv, [64, 1, 1]]
  - [[-1, -2], 1, Concat, [1]]
  - [-1, 1, Conv, [64, 1, 1]]
  - [-1, 1, RepConv, [128, 3, 1]]
  - [15, 1, RepConv, [128, 3, 1]]
  - [[20, 21], 1, IDetect, [nc, anchors]]
""",
    # The kinds that yolov7-w6 adds. Upstream counts on four levels where a head has auxiliary inputs.
    "small-w": """
nc: 80
depth_multiple: 1.0
width_multiple: 1.0
anchors:
  - [19,27, 44,40, 38,94]
  - [96,68, 86,152, 180,137]
  - [140,301, 303,264, 238,542]
  - [436,615, 739,380, 925,792]
backbone:
  - [-1, 1, ReOrg, []]
  - [-1, 1, Conv, [32, 3, 1]]
  - [-1, 1, Conv, [32, 3, 2]]
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, Conv, [64, 3, 2]]
head:
  - [-1, 1, nn.Upsample, [None, 2, "nearest"]]
  - [[-1, 5], 1, Concat, [1]]
  - [3, 1, Conv, [64, 3, 1]]
  - [4, 1, Conv, [64, 3, 1]]
  - [8, 1, Conv, [64, 3, 1]]
  - [6, 1, Conv, [64, 3, 1]]
  - [3, 1, Conv, [64, 3, 1]]
  - [4, 1, Conv, [64, 3, 1]]
  - [5, 1, Conv, [64, 3, 1]]
  - [6, 1, Conv, [64, 3, 1]]
  - [[9, 10, 11, 12, 13, 14, 15, 16], 1, IAuxDetect, [nc, anchors]]
""",
}


@pytest.fixture(scope="session")
def fork7(shared_tmp: Path) -> Path:
    """The root of a fork that `prunekit setup v7` has made. Do not write into it."""
    return set_up(shared_tmp, "v7", "YOLOv7")


@pytest.fixture(scope="session")
def env7(shared_tmp: Path, offline_env: dict[str, str]) -> dict[str, str]:
    """Variables under which YOLOv7 runs offline; the pip packages are importable, nothing else is added."""
    return {
        **os.environ,
        **offline_env,
        "PYTHONPATH": str(packages(shared_tmp, "v7", "YOLOv7", PACKAGES)),
        "CUDA_VISIBLE_DEVICES": "-1",
    }


@pytest.fixture(scope="session")
def copy7(env7: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Home]:
    """Make a private copy of any YOLOv7 folder."""
    return lambda root: copied(root, tmp_path_factory.mktemp("copy") / "fork", env7, HERE)


@pytest.fixture(scope="session")
def prefix7(
    fork7: Path, copy7: Callable[[Path], Home], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], Home]:
    """The fork as it is after its first N patches, drop-ins beside them: `prefix7(N - 1)` lacks patch N.

    0 is upstream as it is at the pin, without the drop-ins: the fork's root commit, whose blobs setup has checked.
    """

    @cache
    def make(number: int) -> Home:
        folder = tmp_path_factory.mktemp(f"prefix{number}") / "fork"
        folder.mkdir()
        commits = _git(fork7, "rev-list", "--reverse", "HEAD").decode().split()
        _unpack(fork7, folder, commits[number])
        if number:
            added = _git(fork7, "diff", "--name-only", "--diff-filter=A", commits[-2], commits[-1]).decode().split()
            _unpack(fork7, folder, commits[-1], *added)
        return copy7(folder)

    return make


@pytest.fixture(scope="session")
def tiny7(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data YAML of sixteen scenes to train on and eight to validate on, 64 px."""
    from prunekit.demo.digits import build

    return build(tmp_path_factory.mktemp("tiny7") / "detect", train=16, val=8, imgsz=64, seed=0, task="detect")


def small_rows(home: Home, name: str = "small") -> str:
    """Write a small YAML into a YOLOv7, beside upstream's; its path in there."""
    path = f"cfg/training/{name}.yaml"
    (home.root / path).write_text(YAMLS[name])
    return path


# Where nothing is refused, the error is the answer: a test reads its exit code.
TYPED = """
import runpy, shlex
def run(line):
    script, *sys.argv[1:] = shlex.split(line)
    sys.argv[0] = script
    try:
        runpy.run_path(os.path.abspath(script), run_name="__main__")
    except SystemExit as end:
        return end.code
    except Exception as error:
        return repr(error)
    return 0
"""


def typed(home: Home, lines: Sequence[str]) -> badlines.Answers:
    """Exit code and error output of lines ("train.py --weights gone.pt"), all in one process."""
    return badlines.answers(home.python, lines, TYPED, "run(line)")


def small(home: Home, words: str, name: str = "small") -> str:
    """Write a checkpoint of a small YAML, and that YAML: TARGET CLASSES [KIND], as make_seven.py has them."""
    small_rows(home, name)
    return home.python(HERE / "make_seven.py", f"training/{name}", *words.split())


def _git(folder: Path, *words: str) -> bytes:
    return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, check=True).stdout


def _unpack(fork: Path, folder: Path, commit: str, *paths: str) -> None:
    """Put a commit's files, or some of them, into a folder."""
    archive = _git(fork, "archive", commit, "--", *paths) if paths else _git(fork, "archive", commit)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
