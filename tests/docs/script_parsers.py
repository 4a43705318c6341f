# SPDX-License-Identifier: AGPL-3.0-or-later
"""A program: what docs/make_options.py makes, and command lines through the scripts' parsers, as JSON.

    python script_parsers.py < COMMANDS.json     # [[script, [word, ...]], ...]

In a process of its own, for it imports the engine as `pruning`, which the tests of the forks do from elsewhere.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "docs"))

import make_options
from pruning.errors import PruneError
from pruning.scripts.options import normalise


def main() -> None:
    """Print {page, options: {script: {flag: [default, meaning, choices]}}, parsed: [words left or a refusal]}."""
    known = make_options.parsers()
    options = {}
    for name, parser in known.items():
        options[name] = {
            flag: [*make_options.row(action)[1:], list(action.choices or [])]
            for action in parser._actions
            for flag in action.option_strings
        }
    parsed: list[list[str] | str] = []
    for script, words in json.load(sys.stdin):
        try:
            parsed.append(known[script].parse_known_args(normalise(words, known[script]))[1])
        except (PruneError, SystemExit) as error:
            parsed.append(str(error))
    json.dump({"page": make_options.page(), "options": options, "parsed": parsed}, sys.stdout)


if __name__ == "__main__":
    main()
