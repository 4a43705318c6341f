# SPDX-License-Identifier: AGPL-3.0-or-later
"""Start a script of a fork: is what its upstream needs there? Then run it; what the user can fix is one line."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import PruneError
from ..family.contract import Upstream
from ..run.outcome import Outcome
from ..settings import Settings
from .keywords import answering, imported_first
from .prune import guarded, require_own

UNTOUCHED = "nothing was changed, run it again"


@dataclass(frozen=True)
class Stack:
    """How the scripts of one upstream start.

    Attributes:
        package: the family's own package. Its module `main` has `UPSTREAM`, `prune` and `run`.
        upstream: its name in messages.
        install: what to type where a package is missing.
        require: refuses, by what lies on the disk, before anything of upstream is imported; given the fork's folder.
    """

    package: str
    upstream: str
    install: str
    require: Callable[[Path], None] = require_own

    def start(self, script: str, module: str, name: str, description: str | None, argv: list[str], **more: Any) -> int:
        """Run a script of the fork; returns its exit code.

        Args:
            script: the script's path, which says whose fork this is.
            module: module of the family's package that holds its body.
            name: function in it, called with description, command line and default settings if there are any.
            description: the script's docstring.
            argv: the command line.
            more: `interrupted`, what to type after Ctrl-C; the rest are default settings of a pruning script.
        """
        hint = {"interrupted": more.pop("interrupted")} if "interrupted" in more else {}

        def body() -> None:
            program = getattr(self._module(script, module), name)
            program(description, argv, **({"defaults": Settings(**more)} if more else {}))

        return guarded(body, **hint)

    def launch(self, script: str, body: Callable[[Upstream], Any]) -> int:
        """Run another script of the fork with its `Upstream`; it changes no network. Returns the exit code."""
        return guarded(lambda: body(self._module(script, "main").UPSTREAM), interrupted=UNTOUCHED)

    def pruning(
        self, script: str, description: str | None, **defaults: Any
    ) -> tuple[Callable[[], int], Callable[..., Outcome | None]]:
        """A pruning script, by its path, docstring and default settings.

        Returns:
            What it does as a program (its exit code), and as a function of a Python program, `prune.run`.
        """

        def main() -> int:
            return self.start(script, "main", "prune", description, sys.argv[1:], **defaults)

        def run(**keywords: Any) -> Outcome | None:
            """Prune with a call; the keywords are this script's flags, with underscores. The run's figures and files.

            Raises:
                PruneError: whatever ended it, in one line.
            """
            with answering(), imported_first(Path(script).resolve().parent):
                return self._module(script, "main").run(keywords, Settings(**defaults))

        return main, run

    def _module(self, script: str, name: str) -> ModuleType:
        """A module of the family's package, once the fork is known to be in order."""
        self.require(Path(script).resolve().parent)
        try:
            return importlib.import_module(f"{self.package}.{name}")
        except ImportError as error:
            raise PruneError(f"{self.upstream} cannot start: {error}. Type: {self.install}") from error
