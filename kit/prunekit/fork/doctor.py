# SPDX-License-Identifier: AGPL-3.0-or-later
"""`prunekit doctor`: what on this machine would keep setup or pruning from working, each with its fix.

Nothing is imported to be looked at: versions come from the metadata that pip leaves.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from prunekit.errors import PrunekitError
from prunekit.extras import COMMON, install_command
from prunekit.fork import repository as fork
from prunekit.fork.reading import foreign_owner
from prunekit.fork.status import NoFork, Status, find_forks, status_of
from prunekit.git import MIN_GIT, Repo, git_version
from prunekit.kit import Kit
from prunekit.upstream.pins import Upstream, read_pins

_NEEDED_MB = 100
# Projects that bring the same package: where two are installed, each has overwritten files of the other.
_SAME_FILES = {
    "opencv-python-headless": ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless"),
    "ultralytics": ("ultralytics-opencv-headless",),
    "ultralytics-thop": ("thop",),
}
_PATIENCE = 20.0  # seconds for a host to answer


@dataclass(frozen=True)
class Check:
    """One finding; `state` is "ok", "warning" or "problem", `fix` what to do about it."""

    name: str
    state: str
    text: str
    fix: str = ""


def examine(kit: Kit, *, network: bool = True) -> list[Check]:
    """Return all findings."""
    checks = [_python(), _git(), _pip(), *_packages(), *_doubles()]
    checks += [_ultralytics(kit), _yolo_command(), _disk(), *_forks(kit)]
    if network and git_version() is not None:
        checks += [_host(upstream) for upstream in read_pins(kit.pins).upstreams.values()]
    return checks


def installed(project: str) -> str | None:
    """Return an installed project's version, or None; imports nothing. Another name of the same package counts."""
    for name in same_files(project):
        with suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return None


def same_files(project: str) -> tuple[str, ...]:
    """Return a project and the others that bring the same package."""
    for keep, others in _SAME_FILES.items():
        if project in (keep, *others):
            return (project, *(name for name in (keep, *others) if name != project))
    return (project,)


def _python() -> Check:
    """The interpreter."""
    text = f"{platform.python_version()} ({sys.executable})"
    good = (3, 10) <= sys.version_info < (3, 14)
    return Check(
        "python", "ok" if good else "warning", text, "" if good else "3.10 to 3.13 are what prunekit is tested on"
    )


def _git() -> Check:
    """Git, which every fork is made with."""
    version = git_version()
    least = ".".join(map(str, MIN_GIT))
    if version is None:
        return Check("git", "problem", "not found on the PATH", f"install git {least} or newer")
    shown = ".".join(map(str, version))
    return (
        Check("git", "ok", shown) if version >= MIN_GIT else Check("git", "problem", shown, f"install {least} or newer")
    )


def _pip() -> Check:
    """Pip, which fetches the sdist where git cannot."""
    version = installed("pip")
    return Check("pip", "ok", version) if version else Check("pip", "warning", "absent", "python -m ensurepip")


def _packages() -> list[Check]:
    """What the fork's scripts need; the tool itself does without."""
    checks = []
    for project in ("torch", "torchvision", "torch-pruning"):
        version = installed(project)
        fix = "" if version else install_command(COMMON)
        checks.append(
            Check(project, "ok" if version else "warning", version or "absent; the scripts in a fork need it", fix)
        )
    return checks


def _doubles() -> list[Check]:
    """Packages that two projects have brought: which files are there depends on the order of installation."""
    present = {it.metadata["Name"]: it.version for it in importlib.metadata.distributions()}
    checks = []
    for keep, others in _SAME_FILES.items():
        found = [name for name in (keep, *others) if name in present]
        if len(found) > 1:
            kept = f"{_kept(keep, found)}=={present[_kept(keep, found)]}"
            anew = f"pip uninstall -y {' '.join(found)} && pip install --no-deps {kept}"
            text = f"{' and '.join(found)} are both installed and overwrite each other's files"
            checks.append(Check(found[-1], "warning", text, anew))
    return checks


def _kept(keep: str, found: list[str]) -> str:
    """Return which of several projects to keep: the one that needs no display."""
    headless = [name for name in found if name.endswith("headless")]
    return headless[0] if headless else keep


def _ultralytics(kit: Kit) -> Check:
    """The copy of ultralytics that `yolo`, and Python outside a fork, would import.

    A released one stands in the way of a fork of ultralytics; where none is in reach, YOLOv5 may be what needs it.
    """
    place = found_ultralytics()
    if place is None:
        text = "not installed: inside a fork's folder its own copy is used"
        return Check(
            "ultralytics", "ok", text, "for `yolo` and for other folders: pip install --no-deps -e . in the fork"
        )
    if fork.read_record(place.parent) is not None:
        return Check("ultralytics", "ok", f"the fork in {place.parent}")
    version = installed("ultralytics") or "of unknown version"
    text = (
        f"{version} in {place}: outside a fork's folder, and for `yolo`, this one runs; it cannot train a pruned model"
    )
    try:
        forked = any((it.directory / "ultralytics").is_dir() for it in find_forks(kit, None))
    except PrunekitError:
        forked = False  # there is none, or `_forks` says what is wrong with it
    fix = "cd into the fork, then: pip install --no-deps -e ."
    if forked:
        return Check("ultralytics", "problem", text, fix)
    return Check("ultralytics", "warning", text, f"once there is a fork of it, {fix}")


def found_ultralytics() -> Path | None:
    """Return the folder of the `ultralytics` that would be imported outside the current folder; imports nothing."""
    with _path_without_here():
        try:
            spec = importlib.util.find_spec("ultralytics")
        except (ImportError, ValueError):
            return None
    if spec is None:
        return None
    places = [spec.origin] if spec.origin else []
    folders = [Path(place).parent for place in places] or [
        Path(place) for place in spec.submodule_search_locations or []
    ]
    return folders[0].resolve() if folders else None


@contextmanager
def _path_without_here() -> Iterator[None]:
    """Take the current folder out of the import path: `python -m` and PYTHONPATH put it there, `yolo` does not."""
    before = sys.path
    sys.path = [entry for entry in before if entry and Path(entry).resolve() != Path.cwd()]
    try:
        yield
    finally:
        sys.path = before


def _yolo_command() -> Check:
    """The `yolo` on the PATH: of this environment, or of another one?"""
    place = shutil.which("yolo")
    if place is None:
        return Check("yolo", "ok", "no such command: pip install --no-deps -e . in a fork brings it")
    here = Path(sys.executable).parent
    if Path(place).parent == here:
        return Check("yolo", "ok", place)
    return Check("yolo", "problem", f"{place} belongs to another environment than {here}", "activate this environment")


def _disk() -> Check:
    """Room for a fork in the current folder."""
    free = shutil.disk_usage(Path.cwd()).free // 10**6
    if free < _NEEDED_MB:
        return Check("disk", "problem", f"{free} MB free here", f"a fork needs about {_NEEDED_MB} MB while it is made")
    return Check("disk", "ok", f"{free} MB free here")


def _forks(kit: Kit) -> list[Check]:
    """The forks in reach."""
    try:
        found = [status_of(kit, it) for it in find_forks(kit, None)]
    except NoFork:
        return [Check("forks", "ok", "none here yet")]
    except PrunekitError as error:
        return [Check("forks", "problem", str(error), "move that folder away, or update the kit")]
    checks = []
    for status in found:
        good = status.state in ("as set up", "changed")
        text = f"{status.fork.directory}: {status.state}; {status.work.describe()}"
        fix = foreign_owner(status.fork.directory) or ("" if good else _again(status))
        checks.append(Check("fork", "warning" if fix else "ok", text, fix))
    return checks


def _again(status: Status) -> str:
    """Return what brings a fork up to date, or makes it again."""
    folder, record = str(status.fork.directory), status.fork.record
    if status.state == "outdated":
        return shlex.join(["prunekit", "upgrade", folder])
    if record.into and status.state == "not checked out":
        return shlex.join(["git", "-C", folder, "switch", record.into.branch])
    own = ["--into", folder, "--remove"] if record.into else [folder, "--force"]
    return shlex.join(["prunekit", "setup", record.target, *own])


def _host(upstream: Upstream) -> Check:
    """The upstream's host, as git reaches it with the user's settings."""
    repo = Repo(Path("/"), fetching=True)
    asked = repo.run("ls-remote", "--get-url", upstream.url, check=False)
    if asked.status:
        return Check(f"host of {upstream.name}", "problem", asked.err.strip().splitlines()[0], "correct that file")
    url = asked.out.decode("utf-8", "replace").strip()
    shown = upstream.url if url == upstream.url else f"{upstream.url} (git takes it from {url})"
    if repo.run("ls-remote", "--quiet", upstream.url, "HEAD", check=False, seconds=_PATIENCE).status == 0:
        return Check(f"host of {upstream.name}", "ok", shown)
    other = "--source sdist, or " if upstream.sdist else ""
    return Check(f"host of {upstream.name}", "warning", f"{shown} does not answer", f"setup with {other}--mirror URL")
