# SPDX-License-Identifier: AGPL-3.0-or-later
"""The small world for all tests of the tool, and a disk that is soon full."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from smallworld import World, copy_folder, template, world

__all__ = ["copy_folder", "template", "tiny_disk", "world"]


@pytest.fixture
def tiny_disk(world: World) -> Iterator[Path]:
    """Mount a file system of 48 kB."""
    folder = world.root / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48k", "none", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
