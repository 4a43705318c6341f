# SPDX-License-Identifier: AGPL-3.0-or-later
"""Runs as a program: fetches a release's sdist as pip finds it, without building anything.

    python -m prunekit.upstream.fetch_pip FOLDER PROJECT VERSION [SHA256]

`pip download` asks an sdist's build backend for metadata, and the sdist says which code that is (`backend-path`). So
only pip's finder and its session are used: the user's index, mirrors, proxies, certificates, credentials and
`--find-links` count, and the archive stays closed. The command behind `pip index` is the one that has both.
"""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path
from typing import Any

CHUNK = 1 << 20  # bytes


def main(words: list[str]) -> int:
    """Fetch; returns pip's exit code. Prints "ERROR: ..." as pip does where it fails."""
    folder, project, version, *wanted = words
    try:
        command = _command(Path(folder), project, version, *wanted)
    except (ImportError, AttributeError) as error:
        print(f"ERROR: this pip is too old or too new to be asked for a file ({error}): pip install --upgrade pip")
        return 1
    return int(command.main([f"--no-binary={project}"]))


def _command(folder: Path, project: str, version: str, sha256: str = "") -> Any:
    """A pip command that fetches one file; it reads the configuration of `pip download`."""
    index = importlib.import_module("pip._internal.commands.index")

    class Fetch(index.IndexCommand):  # type: ignore[name-defined]
        def run(self, options: Any, args: list[str]) -> int:
            with self._build_session(options) as session:
                finder = self._build_package_finder(options=options, session=session, ignore_requires_python=True)
                finder._allow_yanked = True  # a pin names one release, as `pip download X==V` does
                found = [c for c in finder.find_all_candidates(project) if _wanted(c, version)]
                if not found:
                    print(f"ERROR: No sdist (.tar.gz) of {project}=={version} found")
                    return 1
                found.sort(key=lambda candidate: candidate.link.hash == sha256)  # where several places have it
                _fetch(found[-1].link, session, folder)
            return 0

    return Fetch("download", "fetches an sdist")


def _wanted(candidate: Any, version: str) -> bool:
    """Is this the release's source archive?"""
    return str(candidate.version) == version and candidate.link.filename.endswith(".tar.gz")


def _fetch(link: Any, session: Any, folder: Path) -> None:
    """Copy or download one file into `folder`."""
    target = folder / Path(link.filename).name
    if link.is_file:
        shutil.copyfile(link.file_path, target)
        return
    response = session.get(link.url_without_fragment, headers={"Accept-Encoding": "identity"}, stream=True)
    response.raise_for_status()
    with target.open("wb") as file:
        for chunk in response.iter_content(CHUNK):
            file.write(chunk)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except OSError as error:  # requests' errors are kinds of it
        print(f"ERROR: {' '.join(str(error).split())}")
        sys.exit(1)
