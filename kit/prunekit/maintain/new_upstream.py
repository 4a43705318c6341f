# SPDX-License-Identifier: AGPL-3.0-or-later
"""`prunekit pins add`: a new upstream's pin, manifest and target, tried as a fork before a byte is written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from prunekit.console import Console, Report
from prunekit.errors import UserError, nearest
from prunekit.kit import PINS, Kit
from prunekit.kit_commit import commit, need_clean, recover
from prunekit.maintain.series_repo import scratch
from prunekit.maintain.staged_kit import make_fork, need_as_wanted, rows_of, trial_kit
from prunekit.upstream.fetch import From, fetch
from prunekit.upstream.history import head_of, history, resolve
from prunekit.upstream.manifest import tree_id
from prunekit.upstream.new_pin import Candidate, release_of, rows_at, tag_of
from prunekit.upstream.pin_rewrite import add
from prunekit.upstream.pins import Upstream, read_pins

_ASIDE = re.compile(r"(tests?|docs?|examples?|docker|notebooks?|tutorials?|benchmarks?|assets|\..*)/")
_TOP = re.compile(r"[^/]+\.py|pyproject\.toml|setup\.cfg|requirements[^/]*\.txt|LICENSE[^/]*|README\.md|\.gitignore")
_CODE = (".py", ".yaml", ".yml")


@dataclass(frozen=True)
class Wanted:
    """What the user asked for; None is for the default."""

    url: str
    name: str | None = None
    to: str | None = None
    covers: tuple[str, ...] = ()
    engine: str | None = None
    target: str | None = None
    mirror: str | None = None
    dry_run: bool = False


@dataclass(frozen=True)
class Added:
    """The new pin, target, number of files, the fork's tree, the files written, the commit ("" in a dry run)."""

    upstream: Upstream
    target: str
    files: int
    fork_tree: str
    changed: tuple[str, ...]
    commit: str


def add_upstream(kit: Kit, wanted: Wanted, console: Console) -> Added:
    """Pin a new upstream; raises UserError for a name that exists, a URL or a ref that does not, an empty pin."""
    if not wanted.dry_run:
        for note in recover(kit):
            console.warn(note)
        need_clean(kit, PINS, "manifests")
    name = _free_name(kit, wanted)
    target = wanted.target or name
    with scratch() as folder:
        with console.step("pin") as step:
            origin = From("git", wanted.mirror)
            candidate = _candidate(name, wanted, origin, folder / "new", step.report)
            step.result = f"{name} {candidate.upstream.release}, {len(candidate.manifest)} files"
        files = _files(kit, candidate, target)
        with console.step("fork") as step:
            trial = trial_kit(kit, files, folder / "kit")
            need_as_wanted(kit, trial, candidate.upstream)
            _, tree = make_fork(trial, candidate, folder / "fork")
            step.result = f"tree {tree[:12]}"
    message = f"{name}: pinned at {candidate.upstream.release}\n\n{wanted.url}\n{candidate.upstream.commit}\n"
    made = "" if wanted.dry_run else commit(kit, files, message)
    return Added(candidate.upstream, target, len(candidate.manifest), tree, tuple(sorted(files)), made)


def _free_name(kit: Kit, wanted: Wanted) -> str:
    """Return the upstream's name: the one given, or the repository's. Raises UserError where it is taken."""
    last = re.sub(r"\.git$", "", wanted.url.rstrip("/")).rpartition("/")[2].rpartition(":")[2]
    name = wanted.name or re.sub(r"[^a-z0-9._-]+", "-", last.lower()).strip("-._")
    target = wanted.target or name
    for it, option in ((name, "--name"), (target, "--target")):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", it):
            raise UserError(f"'{it}' is no name: letters, digits, dot, dash and underscore; give another: {option}")
    pins = read_pins(kit.pins)
    if name in pins.upstreams:
        raise UserError(f"there is an upstream '{name}' already: move it with `prunekit pins update {name}`, or --name")
    if target in pins.targets:
        raise UserError(f"there is a target '{target}' already: give the new one another name (--target)")
    if (kit.patches / name).exists() or (kit.manifests / f"{name}.txt").exists():
        raise UserError(f"{kit.root} has patches or a manifest of '{name}', and no pin: remove them, or --name")
    return name


def _candidate(name: str, wanted: Wanted, origin: From, folder: Path, report: Report) -> Candidate:
    """Return the pin with its files, fetched and checked."""
    url = str(Path(wanted.url).resolve()) if Path(wanted.url).is_dir() else wanted.url
    if not re.fullmatch(r"[^-\s].*", url):
        raise UserError(f"'{url}' is no git URL")
    engine = wanted.engine or "pruning"
    blank = Upstream(name, url, "", "", "0", None, ("",), "", None, engine)
    repo = history(blank, origin.mirror or url, report)
    if not repo.text("for-each-ref", "--count=1"):
        raise UserError(f"{url} holds no commit yet: nothing to pin")
    chosen = resolve(repo, blank, wanted.to) if wanted.to else head_of(repo)
    every = list(rows_at(repo, blank, chosen, (".",)))
    covers = _covers(every, wanted.covers)
    engine = wanted.engine or _engine(name, every, covers)
    manifest = rows_at(repo, blank, chosen, covers)
    tag = tag_of(repo, wanted.to, chosen)
    before = repo.run("describe", "--tags", "--abbrev=0", chosen, check=False)
    last = before.out.decode().strip() if before.status == 0 else "0"
    release = release_of(last, chosen, tag)
    date = repo.text("log", "-1", "--format=%cI", chosen)
    new = Upstream(name, url, chosen, date, release, tag, covers, tree_id(manifest), None, engine)
    fetched = fetch(new, manifest, source="git", mirror=origin.mirror, scratch=folder, report=report)
    return Candidate(new, manifest, fetched.folder)


def _covers(paths: Iterable[str], asked: tuple[str, ...]) -> tuple[str, ...]:
    """Return what the pin covers: as asked, or the folders with code and configuration and the usual top files.

    Raises UserError for a path that is not there, or where nothing is left.
    """
    every = list(paths)
    folders = sorted({path.partition("/")[0] + "/" for path in every if "/" in path})
    for it in asked:
        if not any(path == it or path.startswith(f"{it.rstrip('/')}/") for path in every):
            raise UserError(f"--covers {it}: the commit has no such path{nearest(it, [*folders, *every])}")
    if asked:
        return tuple(it if it in every else f"{it.rstrip('/')}/" for it in asked)
    coded = [it for it in folders if not _ASIDE.fullmatch(it)]
    coded = [it for it in coded if any(path.startswith(it) and path.endswith(_CODE) for path in every)]
    found = (*coded, *(path for path in sorted(every) if _TOP.fullmatch(path)))
    if not found:
        raise UserError("the commit holds no Python or YAML file: say what a fork needs of it: --covers PATH")
    return found


def _engine(name: str, paths: Iterable[str], covers: tuple[str, ...]) -> str:
    """Return where the engine goes: into the package that is named as the upstream, or to the top."""
    return f"{name}/pruning" if f"{name}/__init__.py" in set(paths) and f"{name}/" in covers else "pruning"


def _files(kit: Kit, candidate: Candidate, target: str) -> dict[str, bytes | None]:
    """Return the kit's files as they are to be: the pin file with two more entries, and the manifest."""
    it = candidate.upstream
    values = {"url": it.url, "commit": it.commit, "date": it.date, "release": it.release, "tag": it.tag}
    values |= {"covers": list(it.covers), "tree": it.tree, "engine": it.engine}  # type: ignore[dict-item]
    about = {"about": f"{it.name} {it.release}", "upstream": it.name, "next": []}
    text = add(kit.pins.read_bytes().decode(), "upstreams", [f"{it.name}:", *_rows(values)])
    text = add(text, "targets", [f"{target}:", *_rows(about)])
    return {PINS: text.encode(), f"manifests/{it.name}.txt": rows_of(candidate.manifest)}


def _rows(values: Mapping[str, object]) -> list[str]:
    """Return keys and values as lines of YAML, each in one line."""
    rows = []
    for key, value in values.items():
        if value is not None:
            shown = yaml.safe_dump(value, default_flow_style=True, width=10**6, default_style=_style(key))
            rows.append(f"  {key}: {shown.partition(chr(10))[0]}")
    return rows


def _style(key: str) -> str | None:
    """Return the quotes of a value: YAML takes a release for a number without."""
    return '"' if key == "release" else None
