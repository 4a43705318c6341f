# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a series must keep to, so that it survives upstream: small hooks that say why they exist, each with its test."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from pathlib import Path

from prunekit.errors import UserError
from prunekit.kit import Kit
from prunekit.patches.canonical import Mail, read_mail
from prunekit.patches.series import read_series
from prunekit.upstream.pins import Upstream

MOST_LINES = 20  # added by one patch: the work belongs in drop-ins
MOST_SUBJECT = 72
PARTS = ("What", "Why", "Retire when")


@dataclass(frozen=True)
class Finding:
    """Something to fix: the file, and what is wrong with it."""

    patch: str
    text: str


def read_tests(kit: Kit, upstream: Upstream) -> dict[str, list[str]]:
    """Return patch name -> its behavioural tests, as pytest names them, from the upstream's `tests` file.

    Raises UserError with file and line for a malformed row.
    """
    path = kit.patches / upstream.name / "tests"
    found: dict[str, list[str]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines() if path.is_file() else [], start=1):
        words = line.partition("#")[0].split()
        if words and len(words) != 2:
            raise UserError(
                f"{path}:{number}: `PATCH TEST` is expected, as in 0001-name.patch tests/series/test_x.py::test_y"
            )
        if words:
            found.setdefault(words[0], []).append(words[1])
    return found


def lint(kit: Kit, upstream: Upstream) -> list[Finding]:
    """Return what is wrong with an upstream's series; reads the kit only."""
    patches = read_series(kit, upstream)
    tests = read_tests(kit, upstream)
    names = [path.name for path in patches]
    findings = [found for path in patches for found in _lint_one(kit, read_mail(path), tests.get(path.name, []))]
    findings += [
        Finding(name, "stands in the series twice") for name in sorted({n for n in names if names.count(n) > 1})
    ]
    findings += [
        Finding(b, f"comes after {a}: number the patches in their order") for a, b in itertools.pairwise(names) if a > b
    ]
    beside = {path.name for path in (kit.patches / upstream.name).glob("*.patch")}
    findings += [Finding(name, "lies in the folder but not in the series") for name in sorted(beside - set(names))]
    findings += [
        Finding(name, "has a test in the `tests` file but is no patch of the series")
        for name in sorted(tests.keys() - set(names))
    ]
    return findings


def _lint_one(kit: Kit, mail: Mail, tests: list[str]) -> list[Finding]:
    """Return what is wrong with one patch."""
    text = mail.path.read_text(encoding="utf-8")
    said: list[str] = (
        [] if re.match(r"\d{4}-", mail.path.name) else ["its name does not begin with a number of four digits"]
    )
    if not mail.subject or len(mail.subject) > MOST_SUBJECT:
        said.append(f"its subject has {len(mail.subject)} characters: 1 to {MOST_SUBJECT}")
    said += [
        f"its message has no `{part}:`" for part in PARTS if not re.search(rf"^{part}: \S", mail.message, re.MULTILINE)
    ]
    if mail.added > MOST_LINES:
        said.append(f"it adds {mail.added} lines, {MOST_LINES} at most: move the work into a drop-in")
    said += _lint_form(text)
    said += (
        [] if tests else [f"it has no behavioural test: add `{mail.path.name} FILE::TEST` to {mail.path.parent}/tests"]
    )
    said += [problem for test in tests if (problem := _missing_test(kit.root, test))]
    return [Finding(mail.path.name, item) for item in said]


def _lint_form(text: str) -> list[str]:
    """Return what `prunekit patches refresh` would fix."""
    said = []
    if not text.startswith(f"From {'0' * 40} "):
        said.append("its first line is not canonical")
    if re.search(r"^index (?![0-9a-f]{40}\.\.[0-9a-f]{40})", text, re.MULTILINE):
        said.append("its index lines are abbreviated: 3-way needs whole blob ids")
    if re.search(r"^-- $", text, re.MULTILINE):
        said.append("it ends in a signature")
    if re.search(r"^\+.*[ \t]+$", text.partition("\ndiff --git ")[2], re.MULTILINE):
        said.append("it adds white space at the end of a line")
    return [f"{item}: `prunekit patches refresh`" for item in said[:3]] if said else []


def _missing_test(root: Path, test: str) -> str:
    """Return what is wrong with the name of a test, or nothing."""
    file, _, name = test.partition("::")
    path = root / file
    if not path.is_file():
        return f"its test {test} is not there"
    function = name.partition("[")[0].rpartition("::")[2]
    return (
        ""
        if re.search(rf"^\s*def {re.escape(function)}\(", path.read_text(encoding="utf-8"), re.MULTILINE)
        else f"{file} has no {function}"
    )
