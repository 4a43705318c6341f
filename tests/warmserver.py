# SPDX-License-Identifier: AGPL-3.0-or-later
"""A Python that has imported torch and the other big packages, and becomes another program on request, by forking.

`warm.py` starts it and talks to it. Only what pip installed is imported here, never a fork's own code.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import selectors
import socket
import sys
import tempfile
from typing import Any

# What the scripts of the three upstreams import before they work. One that is missing is left for them to miss.
PACKAGES = (
    *("torch", "torchvision.transforms", "torch_pruning", "numpy", "cv2", "yaml", "requests", "psutil", "PIL.Image"),
    *("matplotlib.pyplot", "pandas", "scipy.stats", "scipy.interpolate", "onnx"),
)
OWN = ("tqdm", "ultralytics", "seaborn")  # the tests bring theirs


def load() -> list[str]:
    """Import the packages; the top-level names of what is imported beyond the standard library."""
    for name in PACKAGES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for name in [name for name in sys.modules if name.partition(".")[0] in OWN]:
        del sys.modules[name]
    names = {name.partition(".")[0] for name in sys.modules}
    return sorted(names - set(sys.stdlib_module_names) - {"__main__", "warmserver"})


def serve(fd: int) -> None:
    """Answer on a socket, until its other end closes: each message asks for a program and brings the three streams.

    The answer is its process id; how it ended goes to the fourth descriptor of the message.
    """
    base = [path for path in sys.path if path and path != os.path.dirname(__file__)]
    with socket.socket(fileno=fd) as line, selectors.DefaultSelector() as waiting:
        line.send(json.dumps(load()).encode())
        gc.freeze()
        waiting.register(line, selectors.EVENT_READ)
        while True:
            for key, _ in waiting.select():
                if key.fileobj is not line:
                    _ended(waiting, key)
                    continue
                message, fds, _, _ = socket.recv_fds(line, 1 << 20, 4)
                if not message:
                    return
                *streams, told = fds
                pid = os.fork()
                if not pid:
                    for fd in (told, *(entry.data[1] for entry in waiting.get_map().values() if entry.data)):
                        os.close(fd)
                    waiting.close()
                    line.close()
                    return become(json.loads(message), streams, base)
                waiting.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, told))
                for stream in streams:
                    os.close(stream)
                line.send(str(pid).encode())


def _ended(waiting: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    """Tell how a program ended."""
    pid, told = key.data
    _, status = os.waitpid(pid, 0)
    waiting.unregister(key.fd)
    os.close(key.fd)
    with contextlib.suppress(BrokenPipeError):
        os.write(told, str(status).encode())
    os.close(told)


def become(asked: dict[str, Any], streams: list[int], base: list[str]) -> None:
    """Be `python WORDS` with the given streams, folder and environment."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    _reopen()
    if asked["session"]:
        os.setsid()
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    tempfile.tempdir = None
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()
    paths = [path for path in asked["env"].get("PYTHONPATH", "").split(os.pathsep) if path]
    _run(asked["words"], [*paths, *base])


def _reopen() -> None:
    """Python's three streams anew: whether one can seek, or is a terminal, was found out for those of the server."""
    how = {"encoding": sys.stdout.encoding, "closefd": False}
    sys.stdin = sys.__stdin__ = open(0, **how)
    sys.stdout = sys.__stdout__ = open(1, "w", **how)
    sys.stderr = sys.__stderr__ = open(2, "w", buffering=1, errors="backslashreplace", **how)


def _run(words: list[str], path: list[str]) -> None:
    """Run a script, or what follows -c or -m, as Python does."""
    main = vars(sys.modules["__main__"])
    for name in [name for name in main if not name.startswith("__")]:
        del main[name]
    if words[0] == "-m":
        sys.argv, sys.path[:] = ["-m", *words[2:]], [os.getcwd(), *path]
        runpy._run_module_as_main(words[1])  # type: ignore[attr-defined]  # what `python -m` calls
        return
    if words[0] == "-c":
        sys.argv, sys.path[:] = ["-c", *words[2:]], ["", *path]
        code = compile(words[1], "<string>", "exec", dont_inherit=True)
    else:
        sys.argv, sys.path[:] = list(words), [os.path.dirname(os.path.realpath(words[0])), *path]
        main["__file__"] = words[0]
        with open(words[0], "rb") as file:
            code = compile(file.read(), words[0], "exec", dont_inherit=True)
    exec(code, main)
