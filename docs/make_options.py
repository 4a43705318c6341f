# SPDX-License-Identifier: AGPL-3.0-or-later
"""docs/options.md from the scripts' own parsers, so that the page cannot say anything else than `--help`.

    python docs/make_options.py --write

Needs torch, for the engine does, and no fork: what a script takes beside these options is its upstream's.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
DROPINS = DOCS.parent / "kit" / "prunekit" / "dropins"
sys.path.insert(0, str(DROPINS))

from pruning.scripts import deploy, inspect_bn, latency, prune, quantify, sensitivity  # noqa: E402
from pruning.scripts.upstream_parser import caught_parser  # noqa: E402
from pruning.settings import Settings  # noqa: E402

PAGE = DOCS / "options.md"
ALIKE = {  # what has the options of prune.py
    "prune_one_shot.py": "The options of `prune.py`, but for these:\n",
    "deploy.py": "The options of `prune.py` (without `--plan`, `--plan-only`, `--no-export`, `--remove-blocks`), but "
    "for these:\n",
}
DEFAULT = re.compile(r"\s*\(default:? ([^()]*)\)$")  # as a help text ends
HEAD = """# Options of the scripts

Look up here what an option of a fork's script means, and its default. Made from the scripts' parsers by
`python docs/make_options.py --write`; do not edit.

Every argument of the upstream's training (`--epochs`, `--imgsz` or `--img`, `--batch`, `--device`, ...) may follow,
in upstream's spelling; `python prune.py --help` lists them. `--prune-ratio 0.5`, `--prune_ratio 0.5` and
`prune_ratio=0.5` are the same.
"""


class _Stub:
    """Stands for the fork's upstream, of which a parser asks only for the end of its help."""

    def help_text(self) -> str:
        """No upstream, no arguments of it."""
        return ""


def _defaults(script: str) -> Settings:
    """The settings that a script of the ultralytics fork begins with, read without importing it: it needs the fork."""
    tree = ast.parse((DROPINS / "ultralytics" / script).read_text(encoding="utf-8"))
    (call,) = (it for it in ast.walk(tree) if isinstance(it, ast.Call) and getattr(it.func, "id", "") == "Settings")
    return Settings(**{str(word.arg): ast.literal_eval(word.value) for word in call.keywords})


def _train_sparse() -> argparse.ArgumentParser:
    """train_sparse.py hands everything to upstream's own parser; these are the arguments that it adds or presets."""
    parser, preset = argparse.ArgumentParser(allow_abbrev=False), inspect_bn.DEFAULTS
    add = parser.add_argument
    add("--weights", "--model", help="network to start from: a checkpoint")
    add("--sparsity", type=float, default=preset["sparsity"], help="BN-L1 strength on the scales (gamma)")
    add("--sparsity-beta", type=float, default=preset["sparsity_beta"], help="BN-L1 strength on the shifts (beta)")
    add("--optimizer", default=preset["optimizer"], help="upstream's; an adaptive one weakens the penalty")
    add("--resume", metavar="LAST.pt", help="go on with an interrupted training")
    add("--trust", action="store_true", help="load a checkpoint that runs code of its own when loaded")
    return parser


def parsers() -> dict[str, argparse.ArgumentParser]:
    """Each script's parser, by the script's name."""
    stub: Any = _Stub()
    return {
        **{name: prune.parser_of("", _defaults(name), stub) for name in ("prune.py", "prune_one_shot.py")},
        "train_sparse.py": _train_sparse(),
        "inspect_bn.py": caught_parser(lambda: inspect_bn.inspect("", [], stub, stub)),
        "latency.py": caught_parser(lambda: latency.latency("", [], stub)),
        "sensitivity.py": caught_parser(lambda: sensitivity.sensitivity("", [], stub)),
        "quantify.py": caught_parser(lambda: quantify.quantify_command("", [], stub)),
        "deploy.py": caught_parser(lambda: deploy.deploy_command("", [], stub)),
    }


def row(action: argparse.Action) -> tuple[str, str, str]:
    """One option's flags with its value, its default, its meaning."""
    value = "" if action.nargs == 0 else " " + str(action.metavar or action.dest.upper().replace("_", "-"))
    flags = ", ".join(f"`{flag}{value}`" for flag in action.option_strings)
    text = str(action.help or "")
    found = DEFAULT.search(text)
    default = found[1] if found else _value(action.default)
    meaning = text[: found.start()] if found else text
    if action.choices:
        meaning += ": " + ", ".join(f"`{choice}`" for choice in action.choices)
    return flags, "required" if action.required else default, meaning


def _value(default: object) -> str:
    """A default as it is typed; what is off has none."""
    if default in (None, False, True, [], argparse.SUPPRESS):
        return ""
    return " ".join(map(str, default)) if isinstance(default, list) else str(default)


def rows(parser: argparse.ArgumentParser) -> list[tuple[str, str, str]]:
    """The rows of one script's table."""
    return [row(action) for action in parser._actions if action.dest != "help" and action.help != argparse.SUPPRESS]


def page() -> str:
    """The whole page. `prune_one_shot.py` and `deploy.py` show only what differs from `prune.py`."""
    known, parts = parsers(), [HEAD]
    first = rows(known["prune.py"])
    for name, parser in known.items():
        mine = rows(parser)
        if name in ALIKE:
            mine = [it for it in mine if it not in first]
        parts.append(f"## {name}\n")
        if name in ALIKE:
            parts.append(ALIKE[name])
        parts.append("| option | default | meaning |\n|---|---|---|")
        parts.append("\n".join(f"| {' | '.join(it)} |" for it in mine) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        print(page(), end="")
