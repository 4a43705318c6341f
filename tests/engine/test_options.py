# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pruning options: what is refused with the number to type, the keep factor, defaults in --help."""

from __future__ import annotations

import argparse
import importlib
from types import SimpleNamespace
from typing import Any

import pytest


@pytest.fixture(scope="module")
def options(engine: SimpleNamespace) -> Any:
    return importlib.import_module("pruning.scripts.options")


def settings(options: Any, *words: str) -> Any:
    parser, defaults = argparse.ArgumentParser(), options.Settings(steps=5, round_to=16)
    options.add_options(parser, defaults)
    return options.settings_of(parser.parse_args(words), defaults)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--target-macs 1.5", r"For 1.5 billion MACs type --target-macs 1500000000, for 1.5% .* --target-macs 0.015"),
        ("--target-macs 50", r"for 50% of the dense network --target-macs 0.5"),
        ("--target-params 3", "For 3 million parameters type --target-params 3000000"),
        ("--target-macs 1", "give a fraction of the dense network below 1"),
        ("--deployed", "give --target-macs or --target-params"),
        ("--keep 1.5", "--keep 1.5: must lie between 0 and 1"),
        ("--keep 0.8 --prune-ratio 0.2", "--prune-ratio and --keep exclude each other"),
        ("--keep 0.8 --target-macs 0.2", "--target-macs and --keep exclude each other"),
    ],
)
def test_refusals_name_what_to_type(engine: SimpleNamespace, options: Any, words: str, said: str) -> None:
    with pytest.raises(engine.errors.PruneError, match=said):
        settings(options, *words.split())


def test_what_is_taken(options: Any) -> None:
    assert settings(options, "--target-macs", "2000000").target_macs == 2e6
    assert settings(options, "--keep", "0.8").prune_ratio == 0.2
    assert settings(options).prune_ratio == 0.5


def test_help_says_every_default(options: Any) -> None:
    """Every option that takes a value names its default, or is off unless it is given."""
    parser = argparse.ArgumentParser()
    options.add_options(parser, options.Settings(steps=5, round_to=16))
    silent = {
        "--keep",
        "--target-macs",
        "--target-params",
        "--target-latency",
        "--sensitivity",
        "--plan",
        "--resume",
    }
    for action in parser._actions:
        if action.nargs != 0 and not silent & set(action.option_strings):
            assert "default" in action.help, action.option_strings
    said = " ".join(parser.format_help().split())
    assert "(default reconstruction with a target, fpgm with --epochs 0, with both the better one, else lamp)" in said
    assert "(default global beside the default criterion of a target, else local)" in said
    assert "(default 8 beside the default criterion of a target, else 16)" in said
