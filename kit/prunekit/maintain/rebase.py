# SPDX-License-Identifier: AGPL-3.0-or-later
"""`prunekit rebase`: a series onto another upstream commit, stopping where a patch has no certain place.

As git's own rebase: fix the files in the folder, `git add` them, `--continue`; or `--skip`, or `--abort`. It ends in
the same checks and the same one commit as `prunekit pins update`, and every step may be killed and gone on with.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from prunekit.atomic import claimed, remove
from prunekit.console import Console
from prunekit.errors import UserError
from prunekit.fork.compatibility import series_digest
from prunekit.git import Repo
from prunekit.kit import Kit
from prunekit.kit_commit import recover
from prunekit.maintain import rebase_state as states
from prunekit.maintain.edit_series import pick
from prunekit.maintain.rebase_conflict import resolved, show_conflict
from prunekit.maintain.rebase_state import BRANCH, OLD, State
from prunekit.maintain.series_repo import Bench, scratch, set_up_bench
from prunekit.maintain.staged_kit import root_commit
from prunekit.maintain.update import Updated, Wanted, need_committed, try_and_write
from prunekit.patches.series import read_series
from prunekit.porting import memory
from prunekit.porting.file import ABSORBED, FAILED
from prunekit.porting.series import Move, put, text_of, try_move
from prunekit.upstream.manifest import read_manifest
from prunekit.upstream.new_pin import Candidate, find_candidate
from prunekit.upstream.pins import Upstream, read_pins


@dataclass
class Rebased:
    """How a command ended: where the rebase lies, the patch that stopped it, and what was written in the end."""

    folder: Path
    rows: list[list[str]]
    stopped: Move | None = None
    updated: Updated | None = None
    notes: list[str] = field(default_factory=list)


def start(kit: Kit, wanted: Wanted, folder: Path, console: Console) -> Rebased:
    """Make the folder of a rebase and place patches until one stops. Raises UserError where one is under way."""
    for note in recover(kit):
        console.warn(note)
    (upstream,) = pick(read_pins(kit.pins), wanted.upstream)
    there = states.folder_of(kit, upstream.name)
    if there is not None and states.load(there) is not None:
        raise UserError(f"a rebase of {upstream.name} is under way in {there}: --continue, --skip or --abort")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not empty: name another folder (--dir DIR)")
    need_committed(kit)
    states.point(kit, upstream.name, folder)
    with claimed(folder) as staging:
        state, note = _prepare(kit, upstream, wanted, staging, console)
        if folder.exists():
            folder.rmdir()
        os.replace(staging / "bench", folder)
    done = _go_on(kit, wanted, folder, state, console)
    done.notes += [note] if note else []
    return done


def _prepare(kit: Kit, upstream: Upstream, wanted: Wanted, staging: Path, console: Console) -> tuple[State, str]:
    """Make the repository with the series at the old pin, and the new upstream; returns (state, a note for people)."""
    with console.step("old pin") as step:
        bench = set_up_bench(kit, upstream, wanted.origin, staging, step.report)
        step.result = f"{upstream.name} {upstream.release}, {len(bench.commits)} patches"
    with console.step("new pin") as step:
        old = read_manifest(kit.manifests / f"{upstream.name}.txt", upstream.tree)
        found = find_candidate(upstream, old, wanted.to, wanted.origin, wanted.commit, staging / "new", step.report)
        step.result = f"{found.upstream.release} ({found.upstream.short}), {len(found.manifest)} files"
    target = root_commit(bench, found)
    bench.repo.run("update-ref", OLD, bench.commits[-1] if bench.commits else bench.root)  # keeps the commits alive
    bench.repo.run("update-ref", BRANCH, target)
    bench.repo.run("symbolic-ref", "HEAD", BRANCH)
    bench.repo.run("reset", "--quiet", "--hard", target)
    names = [path.name for path in bench.patches]
    new, digest = asdict(found.upstream), series_digest(kit, upstream)
    state = State(upstream.name, digest, bench.root, bench.commits, names, target, new, target)
    states.save(bench.repo.folder, state)
    return state, found.note


def go_on(kit: Kit, wanted: Wanted, console: Console, *, skip: bool) -> Rebased:
    """Take up a rebase again: the patch that had stopped it is as the user has left it, or is left out (`skip`)."""
    for note in recover(kit):
        console.warn(note)
    name, folder = _under_way(kit, wanted.upstream or None)
    state = states.load(folder)
    if state is None:
        states.forget(kit, name)
        raise UserError(f"the rebase of {name} was ended before it began; nothing is left of it: start it again")
    (upstream,) = pick(read_pins(kit.pins), name)
    repo = Repo(folder)
    if _is_written(upstream, state):
        return _end(kit, state, folder, Rebased(folder, state.rows, notes=["the pin is written already"]))
    if series_digest(kit, upstream) != state.series:
        raise UserError(f"the series of {name} has changed since this rebase began: prunekit rebase {name} --abort")
    if skip and not state.stopped:
        raise UserError("no patch waits to be skipped: --continue")
    if state.stopped:
        number = len(state.rows)
        verdict, head = ("skipped", state.head) if skip else ("by hand", resolved(repo, state, number))
        if not skip:
            _remember(kit, repo, state, number, head)
        _placed(repo, state, number, verdict, head)
    return _go_on(kit, wanted, folder, state, console)


def _remember(kit: Kit, repo: Repo, state: State, number: int, head: str) -> None:
    """Keep what the user has made of each file that had no place, and what the patch is at the old pin."""
    parent = state.commits[number - 1] if number else state.root
    commit, name = state.commits[number], state.names[number]
    for it in try_move(repo, name, parent, commit, state.head)[0].conflicts:
        pairs = ((it.path, state.head, head), (it.was or it.path, parent, commit))
        texts = [(path, text_of(repo, one, path), text_of(repo, other, path)) for path, one, other in pairs]
        whole = [(path, old, new) for path, old, new in texts if old is not None and new is not None]
        memory.remember(kit, state.upstream, name, whole)


def abort(kit: Kit, name: str | None) -> Path:
    """Give a rebase up: its folder goes, pins and patches are as they were; returns the folder."""
    name, folder = _under_way(kit, name)
    if folder.exists() and states.load(folder) is None and any(folder.iterdir()):
        states.forget(kit, name)
        raise UserError(f"{folder} holds something else by now: left as it is; the rebase is forgotten")
    remove(folder)
    states.forget(kit, name)
    return folder


def _go_on(kit: Kit, wanted: Wanted, folder: Path, state: State, console: Console) -> Rebased:
    """Place what is left; stop at the first patch that has no certain place, or test and write."""
    repo, known = Repo(folder), memory.load(kit, state.upstream)
    if len(state.rows) < len(state.names):
        (folder / ".git" / "index.lock").unlink(missing_ok=True)  # of a run that was killed: nobody else is at work yet
    with console.step("series") as step:
        while len(state.rows) < len(state.names):
            number = len(state.rows)
            step.report(state.names[number])
            repo.run("update-ref", BRANCH, state.head)
            repo.run("reset", "--quiet", "--hard", state.head)
            parent = state.commits[number - 1] if number else state.root
            move, texts = try_move(repo, state.names[number], parent, state.commits[number], state.head, known)
            if move.verdict == FAILED:
                show_conflict(repo, parent, state.commits[number], move, texts, state.head)
                state.stopped = True
                states.save(folder, state)
                step.result = f"stopped at {move.name}"
                return Rebased(folder, state.rows, stopped=move)
            absorbed = move.verdict == ABSORBED
            head = state.head if absorbed else put(repo, state.commits[number], state.head, texts)
            _placed(repo, state, number, move.verdict, head)
        step.result = ", ".join(f"{name[:4]} {verdict}" for name, verdict in state.rows)
    return _finish(kit, wanted, folder, state, console)


def _placed(repo: Repo, state: State, number: int, verdict: str, head: str) -> None:
    """Remember what became of a patch; the branch stands on its commit."""
    state.rows.append([state.names[number], verdict])
    state.head, state.stopped = head, False
    states.save(repo.folder, state)
    repo.run("update-ref", BRANCH, state.head)
    repo.run("reset", "--quiet", "--hard", state.head)


def _finish(kit: Kit, wanted: Wanted, folder: Path, state: State, console: Console) -> Rebased:
    """Run the checks of `pins update` and write, in one commit; the folder goes when all is well."""
    (upstream,) = pick(read_pins(kit.pins), state.upstream)
    need_committed(kit)
    repo = Repo(folder)
    with scratch() as aside:
        candidate = states.candidate_of(repo, state, aside / "files")
        bench = states.bench_of(repo, state, upstream, read_series(kit, upstream))
        done = Updated(upstream, candidate, _moves(bench, candidate, state))
        try_and_write(kit, wanted, bench, done, aside, console)
    result = Rebased(folder, state.rows, updated=done)
    return _end(kit, state, folder, result) if done.commit else result


def _moves(bench: Bench, candidate: Candidate, state: State) -> list[Move]:
    """Return what became of each patch, its commit read from the branch: the user may have amended them."""
    words = ("rev-list", "--reverse", "--first-parent", f"{state.target}..{BRANCH}")
    commits = iter(bench.repo.text(*words).splitlines())
    kept = [name for name, verdict in state.rows if verdict not in ("skipped", ABSORBED)]
    if len(kept) != len(bench.repo.text(*words).splitlines()):
        raise UserError(f"the branch in {bench.folder} must hold {len(kept)} commits, one for each patch: git log")
    moves = []
    for name, verdict in state.rows:
        if verdict == "skipped":
            continue
        move = Move(name, verdict, commit=next(commits) if name in kept else None)
        number = state.names.index(name)
        parent = state.commits[number - 1] if number else state.root
        changed = bench.repo.text("diff-tree", "-r", "--name-only", "--no-renames", parent, state.commits[number])
        move.files = {path: verdict for path in changed.splitlines() if path in candidate.manifest}
        moves.append(move)
    return moves


def _is_written(upstream: Upstream, state: State) -> bool:
    """Return whether the kit's pin is the one that this rebase was to write: it was killed after its commit."""
    new = states.pin_of(state.new)
    return (upstream.commit, upstream.release, upstream.tree) == (new.commit, new.release, new.tree)


def _end(kit: Kit, state: State, folder: Path, result: Rebased) -> Rebased:
    """Remove the folder of a rebase that is done."""
    remove(folder)
    states.forget(kit, state.upstream)
    memory.forget_waiting(kit, state.upstream)
    return result


def _under_way(kit: Kit, name: str | None) -> tuple[str, Path]:
    """Return (upstream, folder) of the rebase that is meant; raises UserError where none is under way, or several."""
    if name is not None:
        (upstream,) = pick(read_pins(kit.pins), name)
        name = upstream.name
    names = [name] if name else states.under_way(kit)
    if len(names) > 1:
        raise UserError(f"rebases are under way of {', '.join(names)}: say which")
    folder = states.folder_of(kit, names[0]) if names else None
    if folder is None:
        raise UserError("no rebase is under way: prunekit rebase UPSTREAM --onto REF begins one")
    return names[0], folder
