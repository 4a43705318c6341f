# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pin's files from the source release on the package index.

pip fetches it, so that the user's index, mirrors, proxies, certificates and `--find-links` count; the hash is required.
pip asks an sdist's build backend for metadata even when it only downloads; a stand-in for setuptools answers from
PKG-INFO, so that no upstream code runs and no build tools are fetched.
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
from prunekit.manifest import Manifest, is_plain
from prunekit.pins import Sdist

_STAND_IN = """
import email, os, shutil
def get_requires_for_build_wheel(config_settings=None):
    return []
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    with open("PKG-INFO", encoding="utf-8") as file:
        info = email.message_from_file(file)
    # older versions of pip read name and version off the folder
    name = "{}-{}.dist-info".format(info["Name"].replace("-", "_"), info["Version"])
    os.mkdir(os.path.join(folder, name))
    shutil.copy("PKG-INFO", os.path.join(folder, name, "METADATA"))
    return name
"""


def fetch_sdist(sdist: Sdist, manifest: Manifest, scratch: Path, report: Callable[[str], None]) -> tuple[Path, int]:
    """Download the sdist and unpack the manifest's files; returns (folder, bytes fetched).

    Raises Unreachable where no index has it, UserError for a wrong hash or an archive that reaches outside itself.
    """
    report(f"pip download {sdist.project} {sdist.version}")
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
    report(f"pip download {project} {version}")
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
    """Let pip download the sdist, its hash required if there is one; returns the archive."""
    folder, stand_in = scratch / "sdist", scratch / "backend"
    folder.mkdir(parents=True)
    _write(stand_in / "setuptools" / "__init__.py", b"")
    _write(stand_in / "setuptools" / "build_meta.py", _STAND_IN.encode())
    wanted = scratch / "requirements.txt"
    wanted.write_text(f"{project}=={version}{f' --hash=sha256:{sha256}' if sha256 else ''}\n")
    options = ["--no-deps", "--no-build-isolation", "--no-cache-dir", f"--no-binary={project}"]
    options += ["--require-hashes"] if sha256 else []
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), "-r", str(wanted)]
    env = _environment(stand_in, scratch)
    done = subprocess.run(command, env=env, check=False, capture_output=True, text=True)
    archives = sorted(folder.glob("*.tar.gz"))
    if done.returncode or not archives:
        raise _pip_failure(Sdist(project, version, sha256 or ""), done.stdout + done.stderr)
    return archives[0]


def _environment(stand_in: Path, scratch: Path) -> dict[str, str]:
    """Return pip's environment: the stand-in first on the path, temporary files where setup cleans up."""
    return {**os.environ, "PYTHONPATH": str(stand_in), "TMPDIR": str(scratch), "LC_ALL": "C", "PIP_NO_INPUT": "1"}


def _pip_failure(sdist: Sdist, output: str) -> UserError:
    """Turn pip's output into a message."""
    if "No module named pip" in output:
        return Unreachable(f"this Python ({sys.executable}) has no pip to fetch the sdist with: python -m ensurepip")
    if "DO NOT MATCH THE HASHES" in output:
        got = re.search(r"Got\s+([0-9a-f]{64})", output)
        return UserError(_wrong_hash(sdist, got.group(1) if got else "another"))
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
