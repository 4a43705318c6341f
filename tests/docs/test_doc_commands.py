# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the pages tell to type exists: options, their values and defaults, subcommands. Parsed only; nothing is run."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from pages import DOCS, ROOT, commands, pages
from prunekit.cli.main import cli

DROPINS = ROOT / "kit" / "prunekit" / "dropins"
# Arguments of the upstreams' own training that pages name; prunekit passes them on.
UPSTREAM = {"data", "epochs", "imgsz", "img", "device", "batch", "project", "name", "hyp", "cfg", "cache"}
PARSED = {
    "prune.py",
    "prune_one_shot.py",
    "train_sparse.py",
    "inspect_bn.py",
    "latency.py",
    "sensitivity.py",
    "quantify.py",
    "deploy.py",
}
V7 = {"generate_prune_yaml.py": "yaml_command.py", "reparameterize.py": "deploy_command.py"}  # import upstream

WRONG = [  # what must be found
    ("prune.py", ["--weights", "best.pt", "--target-mac", "0.5"]),
    ("prune.py", ["--scope", "everywhere"]),
    ("latency.py", ["--dense", "best.pt"]),
    ("inspect_bn.py", ["--weights", "best.pt", "stray"]),
]

Line = tuple[str, str, list[str]]


def script_lines() -> list[Line]:
    """(page, script, words) of every line that runs a Python file."""
    found = []
    for page in pages():
        for line in commands(page.read_text(encoding="utf-8")):
            words = shlex.split(line)
            if words[0] == "python":
                start = next(at for at, word in enumerate(words) if word.endswith(".py"))
                found.append((page.name, words[start], words[start + 1 :]))
    return found


LINES = script_lines()


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    """What the scripts' parsers have, and what they make of the pages' lines."""
    asked = [(script, words) for _, script, words in LINES if script in PARSED and words and "--help" not in words]
    program = Path(__file__).with_name("script_parsers.py")
    command = [sys.executable, str(program)]
    done = subprocess.run(command, input=json.dumps(asked + WRONG), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    got: dict[str, Any] = json.loads(done.stdout)
    assert set(got["options"]) == PARSED
    return {**got, "asked": asked}


def test_the_page_of_options_is_what_the_parsers_say(seen: dict[str, Any]) -> None:
    assert (DOCS / "options.md").read_text(encoding="utf-8") == seen["page"], "python docs/make_options.py --write"


def test_the_page_of_schemas_is_what_the_schemas_say() -> None:
    made = subprocess.run([sys.executable, str(DOCS / "make_schemas.py")], capture_output=True, text=True, check=True)
    assert (DOCS / "schemas.md").read_text(encoding="utf-8") == made.stdout, "python docs/make_schemas.py --write"


def wrong(left: list[str] | str) -> str:
    """What is wrong with a line, "" if nothing: a refusal, or words left over that are no arguments of upstream's."""
    if isinstance(left, str):
        return left or "refused"
    flags = [word.partition("=")[0].lstrip("-") for word in left if word.startswith("--") or "=" in word]
    values = [word for word in left if not word.startswith("--") and "=" not in word]
    if strange := sorted(set(flags) - UPSTREAM):
        return ", ".join(strange)
    return " ".join(values) if len(values) > len(flags) else ""


def test_lines_of_our_scripts_parse(seen: dict[str, Any]) -> None:
    """Nothing is refused or left over; and the check finds what is wrong."""
    count = len(seen["asked"])
    assert count > 15
    found = [
        f"{script} {' '.join(words)}: {wrong(left)}"
        for (script, words), left in zip(seen["asked"], seen["parsed"][:count], strict=True)
        if wrong(left)
    ]
    assert not found, found
    assert [bool(wrong(left)) for left in seen["parsed"][count:]] == [True] * len(WRONG)


def test_other_scripts_exist(seen: dict[str, Any]) -> None:
    """Programs of this repository and of the YOLOv7 fork, with the flags that their source names."""
    for page, script, words in LINES:
        if script in seen["options"]:
            continue
        if script in V7:
            text = (DROPINS / "yolov7" / "prunekit_v7" / V7[script]).read_text(encoding="utf-8")
        else:
            assert (ROOT / script).is_file(), f"{page}: {script}"
            text = (ROOT / script).read_text(encoding="utf-8")
        for flag in (word.partition("=")[0] for word in words if word.startswith("--")):
            assert f'"{flag.replace("_", "-")}"' in text, f"{page}: {script} {flag}"


def test_the_table_of_options_names_what_exists(seen: dict[str, Any]) -> None:
    """Each row, with the values and defaults that it gives, as `prune.py` has them."""
    options = seen["options"]["prune.py"]
    text = (DOCS / "howto/which-option.md").read_text(encoding="utf-8")
    table = re.search(r"\| option \| .*", text, re.DOTALL)
    assert table
    rows = [row.split(" | ") for row in table[0].splitlines()[2:]]
    for row in rows:
        for flag, value in re.findall(r"`(--[\w-]+)(?: ([^`]+))?`", row[0]):
            default, _, choices = options[flag]
            assert not choices or value in choices, f"{flag} {value}: {choices}"
            for said in re.findall(r"\(default ([^);,]+)", row[1]):
                assert said == default, f"{flag}: default {said}, but {default}"
    assert len(rows) > 10
    beside = re.findall(r"`(--[a-z-]+)` \(default ([^);]+)", text)
    assert beside
    for flag, said in beside:
        assert options[flag][0] == said.replace("`", ""), f"{flag}: default {said}, but {options[flag][0]}"


def subcommand(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that `prunekit WORDS` runs, and the words that are left for it."""
    here: click.Command = cli
    while words and isinstance(here, click.Group) and words[0] in here.commands:
        here, words = here.commands[words[0]], words[1:]
    return here, words


def test_commands_of_the_tool_exist() -> None:
    """Every `prunekit ...` of the pages: the subcommand, and each flag behind it."""
    lines = [(page.name, line) for page in pages() for line in commands(page.read_text(encoding="utf-8"))]
    tool = [(page, line) for page, line in lines if line.startswith("prunekit ")]
    assert len(tool) > 30
    for page, line in tool:
        command, words = subcommand(line.replace("[", "").replace("]", "").split()[1:])
        assert command is not cli, f"{page}: {line}"
        assert not isinstance(command, click.Group) or not words or "/" in words, f"{page}: {line}"
        flags = {opt for param in command.params for opt in param.opts + param.secondary_opts}
        assert {word for word in words if word.startswith("--")} <= flags, f"{page}: {line}"
