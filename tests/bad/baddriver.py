# SPDX-License-Identifier: AGPL-3.0-or-later
"""Type every line of the table into a fork, in one process: `python baddriver.py UPSTREAM DATA [BEGINNINGS]` in a fork.

Most of a script's time is importing torch. Makes the files first; writes `answers.jsonl`: name, exit code, output,
seconds of computing, what was left in the fork.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import json
import os
import resource
import runpy
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

LIMIT = 60  # seconds of computing for one line (the first one imports torch)
MEMORY = 24 << 30
HYPS = {"v5": "data/hyps/hyp.scratch-low.yaml", "v7": "data/hyp.scratch.p5.yaml"}


class Late(BaseException):
    """A line took longer than its limit."""


def _late(*_: object) -> NoReturn:
    raise Late


def run(words: list[str]) -> tuple[int | str, str]:
    """`python WORDS`, here: exit code ("traceback" and "late" for what is none) and output."""
    heard, before = io.StringIO(), (sys.argv, Path.cwd())
    sys.argv = words
    signal.setitimer(signal.ITIMER_PROF, LIMIT)
    code: int | str = 0
    try:
        with contextlib.redirect_stdout(heard), contextlib.redirect_stderr(heard):
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except Late:
        code = "late"
        heard.write(traceback.format_exc())
    except BaseException:  # noqa: BLE001 - what is looked for
        code = "traceback"
        heard.write(traceback.format_exc())
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.argv = before[0]
        os.chdir(before[1])
    text = heard.getvalue()
    return ("traceback" if "Traceback (most recent call last)" in text and code != "late" else code), text


def prepare(upstream: str, here: Path, data: Path) -> None:
    """Files of every kind, good and bad, unless they are there."""
    import badfiles
    import smallnet

    if (here / "tiny.yaml").exists():
        return
    shutil.copy(data, here / "tiny.yaml")
    smallnet.write(upstream, here / "eighty.pt", 80)
    smallnet.write(upstream, here / "best.pt")
    hyp = here / HYPS[upstream] if upstream in HYPS else None
    with contextlib.redirect_stderr(io.StringIO()):  # torch on its own deprecations
        badfiles.make_all(here / "best.pt", data, here, hyp)


def main(upstream: str, data: str, only: str = "", skip: str = "") -> None:
    """The whole table, or the lines whose name begins with one of `only` and none of `skip` (with commas between)."""
    from badrows import rows

    signal.signal(signal.SIGPROF, _late)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)  # where is it?
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    here = Path.cwd()
    prepare(upstream, here, Path(data))
    with open("answers.jsonl", "w", encoding="utf-8") as file:
        known = _listed(here)
        for name, words in rows(upstream, here):
            if not name.startswith(tuple(only.split(","))) or (skip and name.startswith(tuple(skip.split(",")))):
                continue
            started = time.process_time()
            code, text = run(words)
            left = sorted(_listed(here) - known)
            for path in left:
                _remove(here / path)
            answer: dict[str, Any] = {"name": name, "words": words, "code": code, "text": text[-6000:], "left": left}
            answer["seconds"] = round(time.process_time() - started, 2)
            file.write(json.dumps(answer) + "\n")
            file.flush()


def _listed(root: Path) -> set[str]:
    """What lies in the fork's top folder."""
    return {name for name in os.listdir(root) if name not in ("__pycache__", "answers.jsonl")}


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.path.insert(0, os.getcwd())
    main(*sys.argv[1:])
