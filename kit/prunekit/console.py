# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the tool says: named steps with progress, notes, warnings, and JSON on request.

With `--json` standard output holds one JSON document and nothing else; everything for people goes to standard error.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console as Rich
from rich.markup import escape

_WIDTH = 9  # of the longest step name


class Step:
    """One named step that is running; `result` is what its line says in the end."""

    def __init__(self, name: str, rich: Rich) -> None:
        self.name = name
        self.result = ""
        self._status = rich.status(f"{name} ...")

    def report(self, text: str) -> None:
        """Show what the step is doing now (a terminal only)."""
        self._status.update(f"{self.name:<{_WIDTH}} {escape(text)}")

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
        self.people = Rich(stderr=as_json, highlight=False, soft_wrap=True)
        self.errors = Rich(stderr=True, highlight=False, soft_wrap=True)

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
        self.people.print(f"[green]done[/]   {name:<{_WIDTH}} {escape(step.result)} [dim]({seconds})[/]")

    def say(self, text: str = "") -> None:
        """Print a line for people."""
        self.people.print(escape(text))

    def warn(self, text: str) -> None:
        """Print a warning to standard error."""
        self.errors.print(f"[yellow]warning:[/] {escape(text)}")

    def fail(self, text: str) -> None:
        """Print an error to standard error."""
        self.errors.print(f"[bold red]error:[/] {escape(text)}")

    def table(self, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
        """Print rows under their headings, never cut or wrapped, whatever the width of the terminal."""
        widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
        for number, row in enumerate([columns, *rows]):
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            self.people.print(escape(line), style="bold" if number == 0 else "")

    def document(self, value: Any) -> None:
        """Print the JSON document of a command, where `--json` was given."""
        if self.as_json:
            print(json.dumps(value, indent=2))
