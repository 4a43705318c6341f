# SPDX-License-Identifier: AGPL-3.0-or-later
"""Does a fork work? Its patched modules are imported, each patch's own test runs on it, and it is walked through once.

Everything runs in a Python that has what the fork needs (torch and the like), each check in a process of its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from prunekit.console import Report
from prunekit.errors import UserError
from prunekit.fork import repository as forks
from prunekit.git import Repo
from prunekit.kit import Kit
from prunekit.maintain.edit_series import pick
from prunekit.maintain.scenario import walk_through, way_of
from prunekit.patches.canonical import read_mail
from prunekit.patches.lint import read_tests
from prunekit.patches.series import read_series
from prunekit.process import Tried, fork_environment, run
from prunekit.upstream.pins import read_pins

_OPTIONAL = ("tensorflow",)  # what an export wants, and hardly a maintainer has
_MISSING = re.compile(r"ModuleNotFoundError: No module named '(\w+)")
_IMPORT = """
import importlib
for name in {names!r}:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in {optional!r}:
            raise
"""


@dataclass(frozen=True)
class Subject:
    """A fork to be tried: the kit whose tests run, the kit that made it, its folder, patched files, tests by patch."""

    kit: Kit
    maker: Kit
    upstream: str
    folder: Path
    files: Sequence[str]
    tests: Mapping[str, Sequence[str]]


def fork_subject(kit: Kit, folder: Path) -> Subject:
    """Return a fork that `prunekit setup` has made, to be tried. Raises UserError for any other folder."""
    record = forks.read_record(folder)
    if record is None:
        raise UserError(f"{folder} is no fork: `prunekit setup TARGET {folder}` makes one")
    (upstream,) = pick(read_pins(kit.pins), record.upstream)
    mails = [read_mail(path) for path in read_series(kit, upstream)]
    there = Repo(folder).text("ls-files").splitlines()
    files = sorted({path for mail in mails for path in mail.files} & set(there))
    tests = read_tests(kit, upstream)
    # a patch's own test takes the patch out again: of another version than the pin that is not the kit's file
    own = {} if record.at else {mail.path.name: tests.get(mail.path.name, []) for mail in mails}
    return Subject(kit, kit, upstream.name, folder, files, own)


def try_fork(subject: Subject, python: str, scratch: Path, report: Report, *, tests: bool = True) -> list[Tried]:
    """Import what is patched, run every patch's own test, then walk through the fork; the first that fails ends it.

    `tests` off leaves the patches' tests out. Logs lie in `scratch`. An absorbed patch must pass its own test without
    being there.
    """
    if tests and not subject.tests and not subject.files:
        return [_nothing_to_try(subject)]
    report("import")
    found = [import_modules(subject.folder, subject.files, python, scratch)]
    if tests and found[0].passed:
        report("tests")
        found += _run_tests(subject, python)
    way = way_of(subject.upstream)
    if way and all(item.passed for item in found):
        found += walk_through(subject.folder, way, python, scratch / "walk", report)
    return [_with_hint(item, subject.folder, python) for item in found]


def _nothing_to_try(subject: Subject) -> Tried:
    """Return the failed check of a fork without patches: whatever it does, it shows nothing about pruning."""
    name = subject.upstream
    said = [f"patches/{name}/series names no patch", f"patches/{name}/tests names no test"]
    said += [] if way_of(name) else [f"kit/prunekit/maintain/infork has no walk_{name}.yaml"]
    return Tried(f"{name} has nothing to be tried", False, f"{'; '.join(said)}: `Add an upstream` in CONTRIBUTING.md")


def import_modules(fork: Path, files: Sequence[str], python: str, scratch: Path) -> Tried:
    """Import the modules that the series changes, from this fork."""
    names = sorted(
        {path.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in files if path.endswith(".py")}
    )
    program = _IMPORT.format(names=names, optional=_OPTIONAL)
    scratch.mkdir(parents=True, exist_ok=True)
    return run("import", [python, "-c", program], scratch, fork_environment(fork, scratch))


def _with_hint(tried: Tried, fork: Path, python: str) -> Tried:
    """Return a failed check with what to do about a package that is not there."""
    lacks = _MISSING.search(tried.said)
    if lacks is None or (fork / lacks[1]).exists():
        return tried
    hint = f"{python} has no {lacks[1]}: install it there, or name a Python that has it: --python PY"
    return replace(tried, said=f"{tried.said}\n{hint}")


def _run_tests(subject: Subject, python: str) -> list[Tried]:
    """Run the tests of all patches in one process, which shares what is slow to make; alone to tell which fail."""
    missing = [name for name, own in subject.tests.items() if not own]
    found = [Tried(f"{name[:4]}: its test", False, f"patches/{subject.upstream}/tests names none") for name in missing]
    rows = [(name[:4], list(own)) for name, own in subject.tests.items() if own]
    every = run_tests(subject, [test for _, own in rows for test in own], python) if rows else Tried("", True)
    for name, own in rows:
        item = Tried("", True) if every.passed else run_tests(subject, own, python)
        found.append(replace(item, name=f"{name}: {' '.join(own)}"))
    return found


def run_tests(subject: Subject, tests: Sequence[str], python: str) -> Tried:
    """Run tests of the kit on a fork that is there already (PRUNEKIT_FORK), made by another kit (PRUNEKIT_KIT).

    A test that was skipped has shown nothing: it counts as failed.
    """
    command = [python, "-m", "pytest", "-q", "-x", "-o", "addopts=", "-rs", "-p", "no:cacheprovider", *tests]
    tool = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    own = {"PRUNEKIT_FORK": str(subject.folder), "PRUNEKIT_KIT": str(subject.maker.root), "PYTHONPATH": tool}
    env = {**os.environ, **own, "OMP_NUM_THREADS": "1"}
    return run(" ".join(tests), command, subject.kit.root, env, unless=" skipped")
