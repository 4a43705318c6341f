# SPDX-License-Identifier: AGPL-3.0-or-later
"""The only module that runs git, through GitPython's command wrapper.

Two environments. *Local* work (the fork's commits) must give the same object ids on every machine: no configuration of
the user or the system is read, and identity, time zone and conversions are fixed. A *fetch* must get through where the
user's own git does: URL rewriting, proxies, credentials and certificates of the user's configuration stay; only what
points git at another repository or writes into ours is taken out.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from prunekit.errors import DiskFull, PrunekitError, UserError
from prunekit.temporary import PREFIX, NoTemporary

# GitPython runs git when it is imported, with the user's configuration, and raises where that fails. It is made to find
# none: our own message comes at the first command instead.
_before = dict(os.environ)
os.environ.update(GIT_PYTHON_REFRESH="quiet", PATH="/there is no such folder")
os.environ.pop("GIT_PYTHON_GIT_EXECUTABLE", None)

from git.cmd import Git  # noqa: E402
from git.exc import GitCommandError, GitCommandNotFound  # noqa: E402
from git.util import RemoteProgress  # noqa: E402

os.environ.clear()
os.environ.update(_before)

MIN_GIT = (2, 32)  # the first that can be told to read no global configuration
# Bytes as they are, whatever attributes upstream or the user has set.
NO_CONVERSION = "* -text -ident -filter -working-tree-encoding -export-subst\n"
IDENTITY = {"NAME": "prunekit", "EMAIL": "prunekit@localhost"}

# How the user's git reaches a host; everything else called GIT_* is dropped (a hook sets GIT_DIR and GIT_INDEX_FILE).
_KEPT_FOR_FETCH = re.compile(
    r"GIT_(SSH|SSH_COMMAND|SSH_VARIANT|ASKPASS|ALLOW_PROTOCOL|EXEC_PATH|PROXY_COMMAND|PROXY_SSL_\w+|HTTP_\w+|SSL_\w+"
    r"|CONFIG_GLOBAL|CONFIG_SYSTEM|CONFIG_NOSYSTEM|CONFIG_COUNT|CONFIG_KEY_\d+|CONFIG_VALUE_\d+)"
)
_KEPT_FOR_LOCAL = re.compile(r"GIT_EXEC_PATH")

_ALWAYS = (
    "core.autocrlf=false",  # or the bytes of a checkout depend on the machine
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.quotePath=false",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "gc.auto=0",  # no background process that outlives us in a folder that is about to be moved
    "maintenance.auto=false",
    "advice.detachedHead=false",
    "init.defaultBranch=main",
)
_LOCAL = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_ATTR_NOSYSTEM": "1",
    **{f"GIT_AUTHOR_{key}": value for key, value in IDENTITY.items()},
    **{f"GIT_COMMITTER_{key}": value for key, value in IDENTITY.items()},
}
_BAD_CONFIG = re.compile(
    r"^(?:fatal|error): (bad (?:\w+ )*config .*|invalid (?:section|config) .*|unable to parse .*config.*"
    r"|exceeded maximum include depth.*|.*\bin (?:file )?\S*(?:gitconfig|config)\b.*|unable to access '\S*config'.*)$",
    re.MULTILINE,
)
_FETCH = {"GIT_TERMINAL_PROMPT": "0"}  # a password prompt for a public repository is a hang


class GitError(PrunekitError):
    """A git command failed; `stderr` holds what it said."""

    def __init__(self, command: str, stderr: str) -> None:
        self.stderr = stderr
        lines = [line for line in stderr.splitlines() if line.strip()]
        super().__init__(f"`{command}` failed: {lines[-1] if lines else 'no message'}")


@dataclass(frozen=True)
class Done:
    """What a git command left: exit status, output bytes, messages."""

    status: int
    out: bytes
    err: str


@contextmanager
def _environment(kept: re.Pattern[str]) -> Iterator[None]:
    """Take the GIT_* variables that `kept` does not match out of this process: GitPython can only add variables."""
    taken = {key: value for key, value in os.environ.items() if key.startswith("GIT_") and not kept.fullmatch(key)}
    for key in taken:
        del os.environ[key]
    try:
        yield
    finally:
        os.environ.update(taken)


class Repo:
    """Git in one folder; `env` holds more variables (index file, dates), `fetching` keeps the network settings."""

    def __init__(self, folder: Path, *, env: Mapping[str, str] | None = None, fetching: bool = False) -> None:
        self.folder = folder
        self.fetching = fetching
        # A folder whose .git is damaged must not be taken for part of a repository above it.
        ceiling = {"GIT_CEILING_DIRECTORIES": str(folder.parent)}
        self.env = {**(_FETCH if fetching else _LOCAL), **ceiling, **(env or {})}

    def with_env(self, **env: str) -> Repo:
        """Return the same repository with more variables."""
        return Repo(self.folder, env={**self.env, **env}, fetching=self.fetching)

    def run(self, *args: str, stdin: bytes = b"", check: bool = True, seconds: float | None = None) -> Done:
        """Run `git ARGS` and return what it left; raises GitError on failure unless `check` is off.

        `seconds` ends a command that takes longer (status 128 or below 0).
        """
        with _stdin(stdin) as stream, self._cleaned():
            try:
                status, out, err = Git(str(self.folder)).execute(
                    self._command(args),
                    istream=stream,
                    with_extended_output=True,
                    with_exceptions=False,
                    stdout_as_string=False,
                    strip_newline_in_stdout=False,
                    kill_after_timeout=seconds,
                    env=self.env,
                )
            except GitCommandNotFound as error:
                raise no_git() from error
            except KeyboardInterrupt:
                _cancel_timers()
                raise
        _need_uninterrupted(int(status))
        done = Done(int(status), bytes(out or b""), str(err or ""))
        if check and done.status:
            raise _failure(args, done.err, self.folder)
        return done

    def text(self, *args: str, stdin: bytes = b"") -> str:
        """Run `git ARGS` and return its output as text, without the last newline."""
        return self.run(*args, stdin=stdin).out.decode("utf-8", "surrogateescape").rstrip("\n")

    def watch(self, *args: str, report: Callable[[str], None]) -> None:
        """Run a git command that shows progress (`--progress`), handing on its phases; raises GitError on failure."""
        progress = _Progress(report)
        with self._cleaned():
            try:
                process = Git(str(self.folder)).execute(self._command(args), as_process=True, env=self.env)
            except GitCommandNotFound as error:
                raise no_git() from error
            try:
                said = progress.follow(process.stderr.fileno())
                process.wait()
            except GitCommandError as error:
                _need_uninterrupted(error.status)
                raise _failure(args, "\n".join(said), self.folder) from error
            except BaseException:
                _end(process.proc)
                raise

    def _command(self, args: tuple[str, ...]) -> list[str]:
        """Return the command line with the settings that hold always."""
        settings = [word for setting in _ALWAYS for word in ("-c", setting)]
        return [_program(), *settings, *args]

    @contextmanager
    def _cleaned(self) -> Iterator[None]:
        """Hold the environment that this kind of work needs."""
        with _environment(_KEPT_FOR_FETCH if self.fetching else _KEPT_FOR_LOCAL):
            yield


class _Progress(RemoteProgress):
    """Parses git's progress lines; hands on "receiving objects 40%"."""

    __slots__ = ("report",)

    def __init__(self, report: Callable[[str], None]) -> None:
        super().__init__()
        self.report = report

    def follow(self, stream: int) -> list[str]:
        """Read a stream to its end; returns the lines that are no progress."""
        pending, said = b"", []
        while chunk := os.read(stream, 4096):
            *lines, pending = re.split(rb"[\r\n]", pending + chunk)
            said += [text for line in lines if not self.took(text := line.decode("utf-8", "replace"))]
        return [*said, pending.decode("utf-8", "replace")]

    def took(self, line: str) -> bool:
        """Return whether the line was progress and not a message to keep."""
        match = self.re_op_relative.match(line) or self.re_op_absolute.match(line)
        if match is None or line.startswith(("fatal:", "error:", "warning:")):
            return False
        share = f" {match.group(3)}%" if match.group(3) else ""
        self.report(f"{match.group(2).strip().lower()}{share}")
        return True


@contextmanager
def _stdin(content: bytes) -> Iterator[BinaryIO]:
    """Yield a file that holds `content`, at its beginning; raises NoTemporary."""
    if not content:
        with open(os.devnull, "rb") as nothing:
            yield nothing
        return
    try:
        stream = tempfile.TemporaryFile()
        stream.write(content)
        stream.seek(0)
    except OSError as error:
        raise NoTemporary(error.strerror or str(error)) from error
    with stream:
        yield cast(BinaryIO, stream)


def _need_uninterrupted(status: object) -> None:
    """Raise KeyboardInterrupt where a Ctrl-C ended git before it reached us."""
    if status in (-signal.SIGINT, 128 + signal.SIGINT):
        raise KeyboardInterrupt


def _cancel_timers() -> None:
    """Let go of the wrapper's timers: it does not when it is interrupted, and this process would wait for them."""
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.cancel()


def _end(process: Any) -> None:
    """End a git that is still at work: it would go on writing into a folder that is about to be removed."""
    if process is not None and process.poll() is None:
        process.terminate()
        process.wait()


def _program() -> str:
    """Return git's place; an entry of the PATH that means the current folder could be a fork's, and does not count."""
    entries = os.environ.get("PATH", os.defpath).split(os.pathsep)
    found = shutil.which("git", path=os.pathsep.join(entry for entry in entries if os.path.isabs(entry)))
    if found is None:
        raise no_git()
    return found


def no_git() -> UserError:
    """Return the error for a machine without git."""
    return UserError("git was not found on the PATH: install git 2.32 or newer, then run the command again")


def _failure(args: tuple[str, ...], stderr: str, folder: Path) -> PrunekitError:
    """Turn a failed command into an error: a full or read-only disk is the user's to fix, the rest is GitError."""
    if PREFIX in str(folder) and re.search(r"No space left on device|Disk quota exceeded", stderr):
        return NoTemporary("no space left")
    if re.search(r"No space left on device|Out of diskspace|Disk quota exceeded|File too large", stderr):
        return DiskFull(folder)
    if found := _BAD_CONFIG.search(stderr.replace("\n\t", " ")):
        return UserError(f"git cannot read its configuration ({found[1]}): correct it, then run the command again")
    if re.search(r"Read-only file system", stderr):
        return UserError(f"cannot write {folder}: it is on a read-only file system; name a DIR elsewhere")
    return GitError(f"git {args[0]}", stderr)


def git_version() -> tuple[int, ...] | None:
    """Return git's version as numbers, or None where there is no git."""
    try:
        text = Repo(Path("/")).text("version")
    except UserError:
        return None
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part) for part in found.groups(default="0")) if found else None


def need_git() -> None:
    """Raise UserError unless git is there and new enough."""
    version = git_version()
    if version is None:
        raise no_git()
    if version < MIN_GIT:
        shown = ".".join(map(str, version))
        raise UserError(f"git {shown} is too old: install git {'.'.join(map(str, MIN_GIT))} or newer")
