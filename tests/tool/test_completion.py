# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a shell offers after TAB: commands, targets, upstreams; silence where the kit or a command is wrong."""

from __future__ import annotations

import pytest
from click.shell_completion import BashComplete
from prunekit.cli.main import cli

TARGETS = ["v5", "v7", "v8", "v11", "v12", "v26"]


@pytest.mark.parametrize(
    ("words", "incomplete", "offered"),
    [
        ([], "se", ["setup"]),
        (["setup"], "", TARGETS),
        (["setup"], "v1", ["v11", "v12"]),
        (["demo"], "v5", ["v5"]),
        (["pins", "update"], "u", ["ultralytics"]),
        (["patches", "list"], "yolov7", ["yolov7"]),
        (["setup", "v8"], "--at", ["--at"]),
        (["--kit", "no/such/folder", "setup"], "", []),
        (["no-such-command"], "--x", []),
    ],
)
def test_offered(words: list[str], incomplete: str, offered: list[str]) -> None:
    found = BashComplete(cli, {}, "prunekit", "_PRUNEKIT_COMPLETE").get_completions(words, incomplete)
    assert [item.value for item in found] == offered
