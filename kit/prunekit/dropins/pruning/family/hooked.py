# SPDX-License-Identifier: AGPL-3.0-or-later
"""Are prunekit's hooks still where the series put them? A file copied over from another clone has none."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import PruneError


def check_hooks(root: Path, hooked: Mapping[str, Sequence[str]]) -> None:
    """Refuse to begin where a file of the fork has lost a hook: fine-tuning would fail, or train another network.

    Args:
        root: the fork.
        hooked: file, relative to `root` -> the functions of the hooks module that it calls.

    Raises:
        PruneError: naming the file, the hooks, and what to type.
    """
    for file, names in hooked.items():
        place = root / file
        text = place.read_text(encoding="utf-8", errors="ignore") if place.is_file() else ""
        lost = [name for name in names if not re.search(rf"^[^#\n]*\bhooks\.{name}\b", text, re.MULTILINE)]
        if lost:
            raise PruneError(
                f"{place} has lost prunekit's hooks ({', '.join(lost)}): a pruned network could not be trained. "
                f"'prunekit diff {root}' shows what is missing; put those lines back beside your own."
            )
