# SPDX-License-Identifier: AGPL-3.0-or-later
"""Runs inside a fork: every script on every file, in one process, as `python SCRIPT WORDS` would.

    python all_scripts.py '[["prune.py", "--weights", "os.pt"], ...]'

Prints, after ANSWERS, for each line: exit code, what it said, whether `owned` was there afterwards.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import runpy
import sys
from pathlib import Path


def main(lines: list[list[str]]) -> None:
    """Run each line."""
    root = str(Path.cwd())
    sys.path.insert(0, root)
    with contextlib.suppress(ImportError):  # looks for other environments, in a process of its own, each time
        from ultralytics.prunekit import foreign

        foreign.elsewhere = lambda _: None
    said = []
    for words in lines:
        heard = io.StringIO()
        sys.argv = list(words)
        code: object = 0
        try:
            with contextlib.redirect_stderr(heard), contextlib.redirect_stdout(heard):
                runpy.run_path(str(Path(root) / words[0]), run_name="__main__")
        except SystemExit as stop:
            code = stop.code or 0
        except BaseException as error:  # noqa: BLE001 - a traceback is what must not be
            code = f"{type(error).__name__}: {error}"
        os.chdir(root)
        owned = Path("owned").exists()
        Path("owned").unlink(missing_ok=True)
        said.append([code, heard.getvalue()[-2000:], owned])
    print("ANSWERS" + json.dumps(said))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
