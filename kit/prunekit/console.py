# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the tool says: named steps with progress, notes, warnings, and JSON on request.

With `--json` standard output holds one JSON document and nothing else; everything for people goes to standard error.
"""

from __future__ import annotations

import codecs
import io
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console as Rich
from rich.markup import escape

from prunekit.errors import UserError

Report = Callable[[str], None]  # told what a step is at
_WIDTH = 9  # of the longest step name
# A file's name or a commit's subject must not steer the terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """Return text with its control characters written out, line ends and tabs apart."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


class _Stream(io.TextIOWrapper):
    """Standard output or error. That nobody reads any more is no error: the command goes on to its own exit code."""

    def write(self, text: str) -> int:
        """Write text."""
        self._guarded(lambda: super(_Stream, self).write(text))
        return len(text)

    def flush(self) -> None:
        """Write out what is held back."""
        self._guarded(super().flush)

    def _guarded(self, write: Callable[[], Any]) -> None:
        """Write; after a failure everything goes nowhere. Raises UserError unless it was a closed pipe."""
        try:
            write()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            if not isinstance(error, BrokenPipeError):
                raise UserError(f"cannot write the output: {error.strerror}") from error


def _lenient(error: UnicodeError) -> tuple[str | bytes, int]:
    """Encode what a file's name or content brings: bytes that are no text as they are, other characters escaped."""
    assert isinstance(error, UnicodeEncodeError)
    try:
        return error.object[error.start : error.end].encode("ascii", "surrogateescape"), error.end
    except UnicodeEncodeError:
        return codecs.backslashreplace_errors(error)


def prepare() -> None:
    """Make this process's streams take whatever is printed, and Ctrl-C end it.

    Even where a shell has it ignored, as for a script's background jobs: it reaches git, which does not ignore it.
    """
    codecs.register_error("prunekit", _lenient)
    for name in ("stdout", "stderr"):
        old = getattr(sys, name)
        if isinstance(old, io.TextIOWrapper):
            lines, encoding = old.line_buffering, old.encoding
            setattr(sys, name, _Stream(old.detach(), encoding=encoding, errors="prunekit", line_buffering=lines))
    signal.signal(signal.SIGINT, signal.default_int_handler)


def finish(code: int) -> int:
    """Write out what is held back; returns the exit code, which is another one where that fails."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except UserError as error:
        Console().fail(str(error))
        return error.exit_code
    return code


class Step:
    """One named step that is running; `result` is what its line says in the end."""

    def __init__(self, name: str, rich: Rich) -> None:
        self.name = name
        self.result = ""
        self._status = rich.status(f"{name} ...")

    def report(self, text: str) -> None:
        """Show what the step is doing now (a terminal only)."""
        self._status.update(f"{self.name:<{_WIDTH}} {escape(plain(text))}")

    def start(self) -> None:
        """Show the spinner (a terminal only)."""
        self._status.start()

    def stop(self) -> None:
        """Take the spinner away."""
        self._status.stop()


class Console:
    """The tool's voice."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        plainly = False if os.environ.get("NO_COLOR") else None  # no spinner and no bold either
        self.people = Rich(stderr=as_json, highlight=False, soft_wrap=True, force_terminal=plainly)
        self.errors = Rich(stderr=True, highlight=False, soft_wrap=True, force_terminal=plainly)

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Run the body as a named step: a spinner while it runs, one line when it is done or has failed."""
        step, start = Step(name, self.people), time.monotonic()
        step.start()
        try:
            yield step
        except BaseException:
            step.stop()
            self.people.print(f"[red]failed[/] {name}")
            raise
        step.stop()
        seconds = f"{time.monotonic() - start:.1f} s"
        self.people.print(f"[green]done[/]   {name:<{_WIDTH}} {escape(plain(step.result))} [dim]({seconds})[/]")

    def say(self, text: str = "") -> None:
        """Print a line for people."""
        self.people.print(escape(plain(text)))

    def warn(self, text: str) -> None:
        """Print a warning to standard error."""
        self.errors.print(f"[yellow]warning:[/] {escape(plain(text))}")

    def fail(self, text: str) -> None:
        """Print an error to standard error."""
        self.errors.print(f"[bold red]error:[/] {escape(plain(text))}")

    def table(self, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
        """Print rows under their headings, never cut or wrapped, whatever the width of the terminal."""
        shown = [tuple(re.sub(r"[\n\t]", " ", plain(cell)) for cell in row) for row in (columns, *rows)]
        widths = [max(map(len, cells)) for cells in zip(*shown, strict=True)]
        for number, row in enumerate(shown):
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            self.people.print(escape(line), style="bold" if number == 0 else "")

    def document(self, value: Any) -> None:
        """Print the JSON document of a command, where `--json` was given."""
        if self.as_json:
            print(json.dumps(value, indent=2))
