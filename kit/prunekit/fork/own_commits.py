# SPDX-License-Identifier: AGPL-3.0-or-later
"""The user's commits, and changes that no commit holds, onto another state of the fork: in a folder beside it.

git's own rebase does it, in a repository that borrows the fork's objects, so that the fork itself is untouched for as
long as anything can conflict, be given up, or be killed.
"""

from __future__ import annotations

import json
import shlex
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from prunekit import git_objects
from prunekit.errors import UserError
from prunekit.fork.clone import bring, own_git
from prunekit.fork.reading import PLAIN_DIFF, own_config
from prunekit.fork.repository import Record, record_in, texts_in, write_whole
from prunekit.git import NO_CONVERSION, GitError, Repo

UNCOMMITTED = "prunekit upgrade: changes that no commit holds"
_PLAN, _RECORD = "prunekit-plan.json", "prunekit-record.json"
_KEPT = ("refs/prunekit/upgrade/work", "refs/prunekit/upgrade/new")  # in the fork, while an upgrade has stopped
# Steps of a rebase that run no program; a person may have edited the list.
_STEPS = "pick p label l reset t merge m noop drop d edit e reword r fixup f squash s break b".split()
_ONTO, _BRANCH = "refs/prunekit/onto", "upgrade"


@dataclass(frozen=True)
class Plan:
    """An upgrade: HEAD before, the same with what no commit held, setup's last commit before and after."""

    tip: str
    work: str
    old: str
    new: str


def folder_of(directory: Path) -> Path:
    """Return the folder beside a fork in which its commits are moved."""
    return directory.with_name(f"{directory.name}.upgrade")


def snapshot(room: Repo, directory: Path) -> tuple[str, str]:
    """Return (HEAD, HEAD with one more commit that holds every change to tracked files, or HEAD itself)."""
    tip = room.text("rev-parse", "HEAD")
    changed = room.run("diff-files", "--name-only", *PLAIN_DIFF, "-z").out
    if changed:
        room.run("update-index", "--remove", "-z", "--stdin", stdin=changed)
    try:
        tree = room.text("write-tree")
    except GitError as error:
        raise UserError(f"{directory} has unmerged files ({error}): end that first") from error
    if tree == room.text("rev-parse", f"{tip}^{{tree}}"):
        return tip, tip
    dates = {f"GIT_{who}_DATE": room.text("log", "-1", "--format=%cI", tip) for who in ("AUTHOR", "COMMITTER")}
    return tip, git_objects.commit(room.with_env(**dates), UNCOMMITTED, tip)


def need_one_state(room: Repo, directory: Path) -> None:
    """Raise UserError where a file's staged lines are neither those of the file nor of the last commit."""
    staged, changed = (
        set(room.text(*words, "--name-only", *PLAIN_DIFF, "-z").split("\0")) - {""}
        for words in (("diff-index", "--cached", "HEAD"), ("diff-files",))
    )
    if both := sorted(staged & changed):
        add = shlex.join(["git", "-C", str(directory), "add", "--", *both])
        raise UserError(f"{directory} has staged lines that its files do not hold ({both[0]}): commit them, or {add}")


def begin(directory: Path, plan: Plan, record: Record) -> None:
    """Make the folder, at the commits to be moved; an earlier one must be gone. `record`: what setup remembers then.

    Refs keep what it borrows from the fork, which git would tidy away one day.
    """
    for name, commit in zip(_KEPT, (plan.work, plan.new), strict=True):
        own_git(directory).run("update-ref", name, commit)
    folder = folder_of(directory)
    folder.mkdir()
    repo = Repo(folder)
    repo.run("init", "--quiet", "--template=", f"--initial-branch={_BRANCH}", ".")
    info = folder / ".git" / "info"
    info.mkdir(exist_ok=True)
    info.joinpath("attributes").write_text(NO_CONVERSION)
    (folder / ".git/objects/info/alternates").write_text(f"{directory / '.git/objects'}\n")
    shallow = directory / ".git" / "shallow"
    if shallow.is_file():
        shutil.copyfile(shallow, folder / ".git" / "shallow")
    repo.run("update-ref", _ONTO, plan.new)
    repo.run("reset", "--quiet", "--hard", plan.work)
    (folder / ".git" / _RECORD).write_text(json.dumps(asdict(record)))
    (folder / ".git" / _PLAN).write_text(json.dumps(asdict(plan)))


def read_plan(directory: Path) -> Plan | None:
    """Return the plan of an upgrade that has stopped, or None."""
    path = folder_of(directory) / ".git" / _PLAN
    return Plan(**texts_in(path, _again(directory), ("tip", "work", "old", "new"))) if path.is_file() else None


def read_record(directory: Path) -> Record:
    """Return what `begin` was given; raises UserError for anything else."""
    return record_in(folder_of(directory) / ".git" / _RECORD, _again(directory))


def _again(directory: Path) -> str:
    """Return how to begin again."""
    return f"prunekit upgrade {shlex.quote(str(directory))} --abort, then again"


def rebase(directory: Path, plan: Plan) -> tuple[str, str]:
    """Move the commits, or go on with it; returns (HEAD then, the same with what no commit held).

    Raises UserError at a conflict: it says what to resolve, and what to type then.
    """
    folder = folder_of(directory)
    _need_own(directory, folder)
    repo = Repo(folder).with_env(GIT_EDITOR="true", GIT_SEQUENCE_EDITOR="true")
    done = None
    if (folder / ".git/rebase-merge").is_dir():
        done = repo.run("rebase", "--continue", check=False)
    elif repo.run("merge-base", "--is-ancestor", plan.new, "HEAD", check=False).status:  # not begun
        done = repo.run("rebase", "--quiet", "--rebase-merges", "--onto", _ONTO, plan.old, _BRANCH, check=False)
    if done is not None and done.status:
        raise UserError(_stopped(directory, repo, done.err))
    result = repo.text("rev-parse", "HEAD")
    held = plan.work != plan.tip and repo.text("log", "-1", "--format=%s", result) == UNCOMMITTED
    return (repo.text("rev-parse", f"{result}^") if held else result), result


def _need_own(directory: Path, folder: Path) -> None:
    """See to it that the folder names no program that git would run: it may have come with a fork of somebody else's.

    Raises UserError where its list of what is left to do would run a program.
    """
    git_dir = folder / ".git"
    if git_dir.is_symlink() or not git_dir.is_dir():
        raise UserError(f"{folder} is no folder of prunekit's: {_again(directory)}")
    write_whole(git_dir / "config", own_config(git_dir, folder))
    (git_dir / "info").mkdir(exist_ok=True)
    write_whole(git_dir / "info" / "attributes", NO_CONVERSION)
    todo = git_dir / "rebase-merge" / "git-rebase-todo"
    rows = todo.read_text(encoding="utf-8", errors="replace").splitlines() if todo.is_file() else []
    wrong = [row.split()[0] for row in rows if row.split() and row.split()[0] not in _STEPS and row[0] != "#"]
    if wrong:
        raise UserError(f"{todo} holds '{wrong[0]}', which could run a program: {_again(directory)}")


def end(directory: Path) -> None:
    """Remove the folder: `.git`, by which it is known, last; and the refs that kept what it borrowed."""
    folder = folder_of(directory)
    if folder.is_dir() and not folder.is_symlink():
        for path in sorted(folder.iterdir(), key=lambda it: it.name == ".git"):
            _delete(path)
        with suppress(OSError):
            folder.rmdir()
    for name in _KEPT:
        own_git(directory).run("update-ref", "-d", name, check=False)


def _delete(path: Path) -> None:
    """Remove a file or folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def fetch_back(directory: Path) -> None:
    """Bring the commits that were made in the folder into the fork's store."""
    folder = folder_of(directory)
    for pack in (folder / ".git/objects/pack").glob("*.pack"):  # where its user's own git has tidied up
        own_git(directory).run("index-pack", "--stdin", stdin=pack.read_bytes())
    bring(Repo(folder).with_env(GIT_DIR=str(folder / ".git")), directory)


def _stopped(directory: Path, repo: Repo, said: str) -> str:
    """Return what to do about a conflict."""
    folder = folder_of(directory)
    again = f"prunekit upgrade {shlex.quote(str(directory))}"
    files = sorted({row.split("\t", 1)[1] for row in repo.text("ls-files", "-u", "-z").split("\0") if row})
    subject = repo.run("log", "-1", "--format=%s", "REBASE_HEAD", check=False).out.decode("utf-8", "replace").strip()
    if not files:
        last = [line for line in said.splitlines() if line.strip()][-1:] or ["no message"]
        return f"git could not go on in {folder} ({last[0]}): {again} --continue, or --abort"
    typed = f"{shlex.join(['git', '-C', str(folder), 'add', '--', *files])} && {again} --continue"
    return (
        f"'{subject}' conflicts with the new version in {', '.join(files)}: resolve that in {folder}, then type: "
        f"{typed}; or give it up: --abort"
    )
