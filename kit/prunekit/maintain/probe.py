# SPDX-License-Identifier: AGPL-3.0-or-later
"""What would become of a patch at any upstream commit, without a checkout: only the files that it changes are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from prunekit.git import Repo
from prunekit.maintain.series_repo import Bench
from prunekit.patches.canonical import changed_files
from prunekit.porting.anchors import Refused
from prunekit.porting.file import FAILED, REMEMBERED, UNTOUCHED, MovedFile, move_file
from prunekit.porting.memory import Memory
from prunekit.porting.series import Conflict, found_at, move_or_recall, text_of, where
from prunekit.porting.syntax_blocks import changed_scopes

_SEVERITY = ("absorbed upstream", UNTOUCHED, "moved", "re-anchored", REMEMBERED, FAILED)
Texts = tuple[str | None, str | None]


@dataclass
class Probe:
    """The series at its pin, and the upstream's history; `texts` keeps what was read of the series."""

    bench: Bench
    history: Repo
    texts: dict[tuple[int, str], Texts] = field(default_factory=dict)
    memory: Memory | None = None

    def files(self, number: int) -> list[str]:
        """Return the files that patch `number` (from 0) changes."""
        parent = self.bench.commits[number - 1] if number else self.bench.root
        return changed_files(self.bench.repo, parent, self.bench.commits[number])

    def sides(self, number: int, path: str) -> Texts:
        """Return a file before and after a patch, at the pin."""
        if (number, path) not in self.texts:
            parent = self.bench.commits[number - 1] if number else self.bench.root
            both = (text_of(self.bench.repo, parent, path), text_of(self.bench.repo, self.bench.commits[number], path))
            self.texts[number, path] = both
        return self.texts[number, path]

    def verdict(self, number: int, commit: str) -> tuple[str, list[Conflict]]:
        """Return what becomes of a patch at an upstream commit, the patches before it applied where they can be."""
        verdicts, conflicts = [UNTOUCHED], []
        for path in self.files(number):
            place = where(self.history, self.bench.upstream.commit, commit, path)
            now = text_of(self.history, commit, place)
            for earlier in range(number):
                old, new = self.sides(earlier, path)
                if old != new:
                    before = _moved(place, old, new, now)
                    now = now if isinstance(before, Refused) else before.text
            moved = _moved(place, *self.sides(number, path), now)
            if isinstance(moved, Refused) and self.memory:
                moved = self._recalled(number, place, now) or moved
            if isinstance(moved, Refused):
                old = self.bench.upstream.commit
                hint = found_at(self.history, (old, commit), (path, place), *self.sides(number, path))
                conflicts.append(Conflict(place, moved.reason + hint, moved.ours, moved.theirs, path))
            else:
                verdicts.append(moved.verdict)
        return (FAILED if conflicts else max(verdicts, key=_SEVERITY.index)), conflicts

    def _recalled(self, number: int, path: str, now: str | None) -> MovedFile | None:
        """Return a file as a person once made it for this patch, or None."""
        try:
            name = self.bench.patches[number].name
            return move_or_recall(self.memory, name, path, (*self.sides(number, path), now))
        except Refused:
            return None

    def scopes(self, number: int, path: str) -> set[str]:
        """Return the functions and classes that a patch changes, the innermost only; empty for what is not Python."""
        return changed_scopes(*self.sides(number, path)) if path.endswith(".py") else set()


@lru_cache(maxsize=1024)
def _moved(path: str, old: str | None, new: str | None, now: str | None) -> MovedFile | Refused:
    """Return a file with a patch, or why not: most commits leave most files as they are, so the same is asked often."""
    try:
        return move_file(path, old, new, now)
    except Refused as error:
        return error
