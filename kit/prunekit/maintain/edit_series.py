# SPDX-License-Identifier: AGPL-3.0-or-later
"""Working on a series: its patches as commits in a folder, edited there, exported again."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from prunekit.atomic import claimed
from prunekit.console import Report
from prunekit.errors import PatchConflict, UserError, nearest
from prunekit.git import GitError, Repo
from prunekit.kit import Kit
from prunekit.kit_commit import need_clean, recover, write
from prunekit.maintain.series_repo import root_of, scratch, set_up_bench
from prunekit.patches.canonical import Mail, commit_series, export_series, read_mail
from prunekit.patches.series import read_series
from prunekit.upstream.fetch import From
from prunekit.upstream.pins import Pins, Upstream, read_pins

RECORD = "prunekit-series.json"


@dataclass(frozen=True)
class Listed:
    """A patch of the series, its upstream and its place (from 1)."""

    upstream: str
    number: int
    mail: Mail


@dataclass(frozen=True)
class Exported:
    """What an export has changed, or would change: names of patches."""

    upstream: str
    written: tuple[str, ...]
    removed: tuple[str, ...]
    kept: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Return whether there was nothing to change."""
        return not self.written and not self.removed


def pick(pins: Pins, name: str | None) -> list[Upstream]:
    """Return one upstream by name, or by the name of a target, or all; raises UserError with the nearest name."""
    if name is None:
        return list(pins.upstreams.values())
    if name in pins.targets:
        return [pins.targets[name].upstream]
    if name not in pins.upstreams:
        raise UserError(f"unknown upstream '{name}'{nearest(name, [*pins.upstreams, *pins.targets])}")
    return [pins.upstreams[name]]


def listed(kit: Kit, name: str | None) -> list[Listed]:
    """Return the patches of one upstream, or of all."""
    found = []
    for upstream in pick(read_pins(kit.pins), name):
        found += [
            Listed(upstream.name, n, read_mail(path)) for n, path in enumerate(read_series(kit, upstream), start=1)
        ]
    return found


def find_patch(kit: Kit, name: str) -> Listed:
    """Return the one patch whose file name is, begins with, or holds `name` (also UPSTREAM/NAME).

    Raises UserError where none does, or more than one.
    """
    upstream, _, rest = name.rpartition("/")
    every = listed(kit, upstream or None)
    for fits in (lambda n: n == rest, lambda n: n.startswith(rest), lambda n: rest.lower() in n.lower()):
        hits = [item for item in every if fits(item.mail.path.name)]
        if len(hits) == 1:
            return hits[0]
        if hits:
            names = ", ".join(f"{item.upstream}/{item.mail.path.name}" for item in hits[:4])
            raise UserError(f"'{name}' is the name of {len(hits)} patches: {names}; say which")
    raise UserError(f"there is no patch '{name}'{nearest(rest, [item.mail.path.name for item in every])}")


def check_out(kit: Kit, name: str, directory: Path, origin: From, report: Report) -> tuple[Upstream, int]:
    """Make a folder whose branch `series` holds upstream at its pin and one commit for each patch, ready to edit.

    Returns the upstream and the number of patches. Raises UserError where the folder exists.
    """
    (upstream,) = pick(read_pins(kit.pins), name)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UserError(
            f"{directory} is not empty: export it (`prunekit patches export {directory}`), or name another DIR"
        )
    with claimed(directory) as staging:
        bench = set_up_bench(kit, upstream, origin, staging, report)
        head = bench.commits[-1] if bench.commits else bench.root
        bench.repo.run("update-ref", "refs/heads/series", head)
        bench.repo.run("symbolic-ref", "HEAD", "refs/heads/series")
        bench.repo.run("reset", "--quiet", "--hard", "series")
        write_record(bench.repo.folder, {"upstream": upstream.name, "commit": upstream.commit, "root": bench.root})
        if directory.exists():
            directory.rmdir()
        os.replace(bench.repo.folder, directory)
    return upstream, len(bench.commits)


def write_record(folder: Path, record: dict[str, str]) -> None:
    """Remember what a series folder was made from."""
    (folder / ".git" / RECORD).write_text(json.dumps(record, indent=2) + "\n")


def read_record(folder: Path) -> dict[str, str]:
    """Return what a series folder was made from; raises UserError for any other folder."""
    try:
        found: dict[str, str] = json.loads((folder / ".git" / RECORD).read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder} is no folder of a series: `prunekit patches checkout UPSTREAM {folder}` makes one"
        ) from error
    return found


def export(kit: Kit, directory: Path, *, check: bool) -> Exported:
    """Write the commits of a series folder as patches; with `check`, only say what would change.

    Raises UserError for local changes, merges, or a pin that has moved meanwhile.
    """
    record = read_record(directory)
    (upstream,) = pick(read_pins(kit.pins), record["upstream"])
    if record["commit"] != upstream.commit:
        raise UserError(
            f"{directory} was made at {record['commit'][:12]}, the pin is {upstream.commit[:12]}: make it again"
        )
    repo = Repo(directory)
    if repo.text("status", "--porcelain", "--untracked-files=all"):
        raise UserError(
            f"{directory} has changes that no commit holds: git commit --fixup=<patch>, git rebase --autosquash"
        )
    try:
        rows = repo.text("rev-list", "--reverse", "--parents", f"{record['root']}..HEAD").splitlines()
        repo.run("merge-base", "--is-ancestor", record["root"], "HEAD")
    except GitError as error:
        raise UserError(
            f"the branch in {directory} no longer stands on {record['root'][:12]}, upstream at its pin"
        ) from error
    if any(len(row.split()) != 2 for row in rows):
        raise UserError(f"the branch in {directory} holds a merge: a series is a line of commits")
    commits = [row.split()[0] for row in rows]
    return _write(kit, upstream, export_series(repo, record["root"], commits, read_series(kit, upstream)), check)


def refresh(kit: Kit, name: str | None, origin: From, report: Report, *, check: bool) -> list[Exported]:
    """Replay each series at its pin and write it in canonical form; with `check`, only say what would change."""
    done = []
    for upstream in pick(read_pins(kit.pins), name):
        if not read_series(kit, upstream):
            continue
        with scratch() as folder:
            bench = set_up_bench(kit, upstream, origin, folder, report)
            files = export_series(bench.repo, bench.root, bench.commits, bench.patches)
        done.append(_write(kit, upstream, files, check))
    return done


def drop(kit: Kit, name: str, origin: From, report: Report) -> Exported:
    """Take a patch out of its series, if the others apply without it. Raises PatchConflict where they do not."""
    item = find_patch(kit, name)
    (upstream,) = pick(read_pins(kit.pins), item.upstream)
    rest = [path for path in read_series(kit, upstream) if path != item.mail.path]
    with scratch() as folder:
        repo, root = root_of(kit, upstream, origin, folder, report)
        try:
            commits = commit_series(repo, rest, root, report)
        except PatchConflict as error:
            raise PatchConflict(f"{item.mail.path.name} cannot be dropped, others stand on it: {error}") from error
        files = export_series(repo, root, commits, rest)
    return _write(kit, upstream, files, check=False)


def series_files(kit: Kit, upstream: Upstream, files: dict[str, bytes]) -> dict[str, bytes | None]:
    """Return what changes in the kit for these patches: path below its root -> content, None for a file to remove.

    The `series` and `tests` files keep their comments and the rows of patches that stay.
    """
    folder = kit.patches / upstream.name
    old = {path.name for path in read_series(kit, upstream)}
    changes: dict[str, bytes | None] = {name: data for name, data in files.items() if not _holds(folder / name, data)}
    changes.update(dict.fromkeys(old - files.keys()))
    wanted = {"series": _series_text(folder, list(files)), "tests": _tests_text(folder, old - files.keys())}
    changes.update(
        {
            name: text.encode()
            for name, text in wanted.items()
            if text is not None and not _holds(folder / name, text.encode())
        }
    )
    return {str((folder / name).relative_to(kit.root)): data for name, data in changes.items()}


def _write(kit: Kit, upstream: Upstream, files: dict[str, bytes], check: bool) -> Exported:
    """Write what differs, unless only asked whether something does."""
    if not check:
        recover(kit)
    changes = series_files(kit, upstream, files)
    names = {Path(path).name: data for path, data in changes.items()}
    if not check and changes:
        need_clean(kit, str((kit.patches / upstream.name).relative_to(kit.root)))
        write(kit, changes)
    gone = tuple(sorted(name for name, data in names.items() if data is None))
    written = tuple(sorted(name for name, data in names.items() if data is not None))
    return Exported(upstream.name, written, gone, tuple(name for name in files if name not in names))


def _series_text(folder: Path, names: list[str]) -> str:
    """Return the series file with these names in order; its comment lines stay on top, those behind a name with it."""
    path = folder / "series"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    rows = {line.partition("#")[0].strip(): line for line in lines}
    if [name for name in rows if name] == names:
        return "".join(f"{line}\n" for line in lines)
    comments = [line for line in lines if not line.partition("#")[0].strip()]
    return "".join(f"{line}\n" for line in [*comments, *(rows.get(name, name) for name in names)])


def _tests_text(folder: Path, gone: set[str]) -> str | None:
    """Return the tests file without the rows of patches that are gone; None where there is no such file."""
    path = folder / "tests"
    if not path.is_file():
        return None
    lines = path.read_text(encoding="utf-8").splitlines()
    return "".join(f"{line}\n" for line in lines if not line.split() or line.split()[0] not in gone)


def _holds(path: Path, content: bytes) -> bool:
    """Return whether a file has this content."""
    return path.is_file() and path.read_bytes() == content
