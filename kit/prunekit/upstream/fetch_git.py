# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pin's files by git: one commit, no blobs but those of the covered paths.

A server without partial clone sends one whole commit. A server that gives out no single commits is asked for the pin's
tag, then for everything. Git has no connect timeout of its own (`http.lowSpeedTime` begins once connected), so the host
is asked for its HEAD with a deadline before anything is fetched: over https, ssh or whatever else the user's git goes.
What it is that fails is read off git's message, because git has one exit code for all of it.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from prunekit.console import Report
from prunekit.errors import Unreachable, UserError
from prunekit.git import NO_CONVERSION, GitError, Repo
from prunekit.upstream.pins import UNRESOLVED, Upstream

_ABSENT = "pin not in what was fetched"
_ASK_ANOTHER_WAY = re.compile(
    r"unadvertised object|not our ref|(does|do) not support shallow|couldn't find remote ref|no such remote ref"
    rf"|remote ref does not exist|{_ABSENT}",
    re.IGNORECASE,
)
_PATIENCE = 40.0  # seconds for a host to answer; time to type the passphrase of an ssh key, too


class Absent(Unreachable):
    """The host answers, and has no such commit (any more); `what` says so without the advice behind it."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(f"{what}: {advice}")
        self.what = what


class FetchFailed(UserError, GitError):
    """A fetch failed though the host answers."""


@dataclass(frozen=True)
class CheckedOut:
    """The covered paths below `folder`, as `commit` holds them; bytes fetched, what was not as hoped."""

    folder: Path
    commit: str
    size: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Attempt:
    """A way of asking: what to fetch, with which options, and what to tell the user where it is the one that worked."""

    want: str
    options: tuple[str, ...]
    note: str


def fetch_git(upstream: Upstream, url: str, scratch: Path, report: Report) -> CheckedOut:
    """Check out the covered paths at the pin. A pin whose commit nobody has looked up yet is what its tag names.

    Raises Unreachable where the host cannot be reached or no longer has the pin.
    """
    location = _location(url)
    attempts = _attempts(upstream)
    _need_an_answer(_start(upstream, location, scratch / "upstream"), url)
    while attempts:
        attempt = attempts.pop(0)
        repo = _start(upstream, location, scratch / "upstream")
        try:
            commit = _fetch_and_check_out(repo, upstream, attempt, report)
        except GitError as error:
            _need_the_pin_to_blame(error, repo, upstream, url)
            if "not our ref" in error.stderr:  # the server has looked for the commit: its history will not hold it
                attempts = [other for other in attempts if other.options]
            continue
        return CheckedOut(repo.folder, commit, _packed(repo.folder), (attempt.note,) if attempt.note else ())
    other = " --source sdist, or" if upstream.sdist else ""
    lost = f"tag {upstream.tag}" if upstream.commit == UNRESOLVED else f"commit {upstream.commit}"
    raise Absent(f"{url} does not have {lost} of {upstream.name}", f"try{other} --mirror URL of a copy")


def ids_of(upstream: Upstream, url: str, names: tuple[str, ...], folder: Path) -> dict[str, str]:
    """Return ref -> object id of those of the names that the host has. Raises Unreachable."""
    repo = _start(upstream, _location(url), folder)
    _need_an_answer(repo, url)
    rows = repo.text("ls-remote", "--quiet", "origin", *names).splitlines()
    return {name: oid for oid, _, name in (row.partition("\t") for row in rows)}


def _attempts(upstream: Upstream) -> list[_Attempt]:
    """Return the ways of asking for the pin, the smallest first."""
    if upstream.commit == UNRESOLVED:
        return [_Attempt(f"refs/tags/{upstream.tag}", ("--depth=1", "--filter=blob:none"), "")]
    whole = _Attempt("+refs/*:refs/all/*", (), "the server gives out no single commits: fetched its whole history")
    tag = _Attempt(
        f"refs/tags/{upstream.tag}", ("--depth=1",), "the server does not give out the pin itself: fetched its tag"
    )
    commit = _Attempt(upstream.commit, ("--depth=1", "--filter=blob:none"), "")
    return [commit, tag, whole] if upstream.tag else [commit, whole]


def _location(url: str) -> str:
    """Return the URL as git should see it: a folder of this machine as an absolute path."""
    if url.startswith("-"):
        raise UserError(f"'{url}' is no git URL; --mirror takes a URL or the folder of a git repository")
    folder = Path(url).expanduser()
    return str(folder.resolve()) if folder.is_dir() else url


def _start(upstream: Upstream, url: str, folder: Path) -> Repo:
    """Make an empty repository that will hold the covered paths only."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    repo = Repo(folder, fetching=True)
    repo.run("init", "--quiet", "--template=", ".")
    info = folder / ".git" / "info"
    info.mkdir(exist_ok=True)
    info.joinpath("attributes").write_text(NO_CONVERSION)
    info.joinpath("sparse-checkout").write_text("".join(f"/{path}\n" for path in upstream.covers))
    repo.run("config", "core.sparseCheckout", "true")
    repo.run("config", "remote.origin.url", url)
    return repo


def _fetch_and_check_out(repo: Repo, upstream: Upstream, attempt: _Attempt, report: Report) -> str:
    """Fetch, make sure that the pin came along, check the covered paths out (which fetches their blobs).

    Returns the commit.
    """
    options = ("--progress", "--no-tags", "--no-recurse-submodules", *attempt.options)
    repo.watch("fetch", *options, "origin", attempt.want, report=report)
    pin = "FETCH_HEAD" if upstream.commit == UNRESOLVED else upstream.commit
    if repo.run("cat-file", "-e", f"{pin}^{{commit}}", check=False).status:
        raise GitError("git fetch", _ABSENT)
    repo.watch("checkout", "--progress", "--detach", pin, report=report)
    return repo.text("rev-parse", "HEAD")


def _need_the_pin_to_blame(error: GitError, repo: Repo, upstream: Upstream, url: str) -> None:
    """Return where another way of asking for the pin may help; raise what has gone wrong where none will."""
    if _ASK_ANOTHER_WAY.search(error.stderr):
        return
    _need_an_answer(repo, url)
    raise FetchFailed(f"fetching {upstream.name} from {url}", _main_line(error.stderr)) from error


def _need_an_answer(repo: Repo, url: str) -> None:
    """Raise Unreachable unless the host says in time what its HEAD is."""
    asked = repo.run("ls-remote", "--quiet", "origin", "HEAD", check=False, seconds=_PATIENCE)
    if asked.err.startswith("Timeout: "):  # the wrapper's own words, with the whole command line after them
        raise Unreachable(f"{url} cannot be reached (no answer within {_PATIENCE:.0f} s)")
    if asked.status:
        raise Unreachable(f"{url} cannot be reached ({_main_line(asked.err)})")


def _main_line(stderr: str) -> str:
    """Return the line of git's messages that says most: the first `fatal:`, or the last of all."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    fatal = [line.removeprefix("fatal: ") for line in lines if line.startswith("fatal: ")]
    return fatal[0] if fatal else (lines or ["no message from git"])[-1]


def _packed(folder: Path) -> int:
    """Return the bytes of the packs that came over the wire."""
    return sum(path.stat().st_size for path in (folder / ".git" / "objects").rglob("*.pack"))
