# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pin's files from the source release on the package index.

pip finds it, so that the user's index, mirrors, proxies, certificates and `--find-links` count; the hash is required.
`pip download` would ask the sdist's own build backend for metadata, so a program of ours asks pip for the file alone
(`pip_fetch`): no upstream code runs and no build tools are fetched.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

from prunekit.errors import DiskFull, Unreachable, UserError
from prunekit.upstream.manifest import Manifest, is_plain
from prunekit.upstream.pins import Sdist


def fetch_sdist(sdist: Sdist, manifest: Manifest, scratch: Path, report: Callable[[str], None]) -> tuple[Path, int]:
    """Download the sdist and unpack the manifest's files; returns (folder, bytes fetched).

    Raises Unreachable where no index has it, UserError for a wrong hash or an archive that reaches outside itself.
    """
    report(f"pip: the sdist of {sdist.project} {sdist.version}")
    archive = _download(sdist.project, sdist.version, sdist.sha256, scratch)
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != sdist.sha256:
        raise UserError(_wrong_hash(sdist, found))
    folder = scratch / "unpacked"
    unpack(archive, folder, manifest)
    return folder, archive.stat().st_size


def unpack(archive: Path, folder: Path, manifest: Manifest) -> None:
    """Unpack the manifest's files below the archive's one top folder; every member's name is checked first."""
    try:
        with tarfile.open(archive) as tar:
            members = tar.getmembers()
            for member in members:
                _check_member(archive, member)
            for member in members:
                path = member.name.partition("/")[2]
                if member.isfile() and path in manifest:
                    _write(folder / path, tar.extractfile(member).read())  # type: ignore[union-attr]
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"{archive.name} is no readable archive ({error}); clear pip's cache and try again") from error


def _check_member(archive: Path, member: tarfile.TarInfo) -> None:
    """Raise UserError for a member that would land outside the folder, or is neither file nor folder."""
    if not is_plain(member.name.removesuffix("/")) or not (member.isfile() or member.isdir()):
        raise UserError(
            f"{archive.name} holds '{member.name}', which is not a plain file below it: refused, nothing written"
        )


def _write(path: Path, content: bytes) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def download_release(project: str, version: str, scratch: Path, report: Callable[[str], None]) -> tuple[Path, str]:
    """Download the sdist of any release; returns (archive, its sha256). Raises Unreachable."""
    report(f"pip: the sdist of {project} {version}")
    archive = _download(project, version, None, scratch)
    return archive, hashlib.sha256(archive.read_bytes()).hexdigest()


def members_of(archive: Path) -> dict[str, tuple[bytes, float]]:
    """Return path below the top folder -> (content, time) of an archive's files; every name is checked first."""
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
        for member in members:
            _check_member(archive, member)
        files = [member for member in members if member.isfile()]
        return {m.name.partition("/")[2]: (tar.extractfile(m).read(), m.mtime) for m in files}  # type: ignore[union-attr]


def releases(project: str) -> list[str]:
    """Return the releases that pip's indexes have, newest first. Raises Unreachable."""
    command = [sys.executable, "-m", "pip", "index", "versions", project]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    found = re.search(r"^Available versions: (.+)$", done.stdout, re.MULTILINE)
    if done.returncode or found is None:
        raise Unreachable(f"pip knows no releases of {project} ({(done.stderr.strip().splitlines() or ['?'])[-1]})")
    return found.group(1).split(", ")


def _download(project: str, version: str, sha256: str | None, scratch: Path) -> Path:
    """Let pip find and fetch the sdist; returns the archive, whose hash is the caller's to check."""
    folder = scratch / "sdist"
    folder.mkdir(parents=True)
    wanted = [project, version, *([sha256] if sha256 else [])]
    command = [sys.executable, "-m", "prunekit.upstream.fetch_pip", str(folder), *wanted]
    done = subprocess.run(command, env=_environment(scratch), check=False, capture_output=True, text=True)
    archives = sorted(folder.glob("*.tar.gz"))
    if done.returncode or not archives:
        raise _pip_failure(Sdist(project, version, sha256 or ""), done.stdout + done.stderr)
    return archives[0]


def _environment(scratch: Path) -> dict[str, str]:
    """Return pip's environment: this package importable, temporary files where setup cleans up."""
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {"PYTHONPATH": os.pathsep.join(paths), "TMPDIR": str(scratch), "LC_ALL": "C", "PIP_NO_INPUT": "1"}
    return {**os.environ, **own}


def _pip_failure(sdist: Sdist, output: str) -> UserError:
    """Turn pip's output into a message."""
    if "No module named 'pip" in output:
        return Unreachable(f"this Python ({sys.executable}) has no pip to fetch the sdist with: python -m ensurepip")
    if "No space left on device" in output:
        return DiskFull("the fork")
    errors = [line for line in output.splitlines() if line.startswith("ERROR: ")]
    reason = errors[-1].removeprefix("ERROR: ") if errors else (output.strip().splitlines() or ["no message"])[-1]
    return Unreachable(f"pip cannot fetch the sdist of {sdist.project} {sdist.version} ({reason})")


def _wrong_hash(sdist: Sdist, found: str) -> str:
    """Return the message for an sdist with another hash than the pin's."""
    return (
        f"the sdist of {sdist.project} {sdist.version} has sha256 {found}, the pin says {sdist.sha256}: refused. "
        "Check the index or --find-links that pip is set to (`pip config list`), or use --source git"
    )
