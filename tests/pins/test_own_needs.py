# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a release lists for pip, and what of it is named after `setup --at`."""

from __future__ import annotations

from pathlib import Path

import pytest
from prunekit.fork import own_needs
from prunekit.fork.doctor import same_files

PROJECT = """[project]
dependencies = [
    "matplotlib>=3.3.0",
    "opencv-python>=4.6.0",
    "py-cpuinfo", # display CPU info
    "thop>=0.1.1", # FLOPs computation
    "absent_one>=1",
    "polars; sys_platform == 'darwin'",
]

[project.optional-dependencies]
dev = ["never-listed"]
"""
PLAIN = "# Base\ngitpython\nabsent-two>=1.1  # plots\n# clearml\nabsent_three; python_version < '3'\n"


@pytest.mark.parametrize(
    ("file", "text", "named"),
    [("pyproject.toml", PROJECT, ["py-cpuinfo", "absent_one"]), ("requirements.txt", PLAIN, ["absent-two"])],
)
def test_what_the_extra_does_not_bring(
    file: str, text: str, named: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what the extra brings, by whichever name, nor what is installed, nor rows for other machines."""
    (tmp_path / file).write_text(text)
    monkeypatch.setattr(own_needs, "installed", lambda name: "1" if name == "gitpython" else None)
    assert own_needs.lacking(tmp_path, "ultralytics") == named


def test_names_of_one_package() -> None:
    """A project and those that write the same files."""
    assert set(same_files("thop")) == {"thop", "ultralytics-thop"}
    assert same_files("opencv-python")[0] == "opencv-python" and "opencv-python-headless" in same_files("opencv-python")
    assert same_files("torch") == ("torch",)
