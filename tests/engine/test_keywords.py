# SPDX-License-Identifier: AGPL-3.0-or-later
"""Keywords of a call as the words of a command line, and what a call raises instead of an exit."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

Words = Callable[..., list[str]]


@pytest.fixture(scope="module")
def kit(engine: SimpleNamespace) -> SimpleNamespace:
    """The engine's modules that calls are made of."""
    names = ("keywords", "options", "upstream_parser")
    return SimpleNamespace(
        errors=engine.errors, **{name: importlib.import_module(f"pruning.scripts.{name}") for name in names}
    )


@pytest.fixture(scope="module")
def parser(kit: SimpleNamespace) -> argparse.ArgumentParser:
    """prunekit's options."""
    made = argparse.ArgumentParser(allow_abbrev=False)
    kit.options.add_options(made, kit.options.Settings())
    return made


@pytest.fixture(scope="module")
def words(kit: SimpleNamespace, parser: argparse.ArgumentParser) -> Words:
    """The command line of a call, beside options such as upstreams have."""
    upstreams = argparse.ArgumentParser()
    upstreams.add_argument("--imgsz", "--img", "--img-size", dest="imgsz", type=int)
    upstreams.add_argument("--freeze", nargs="+", type=int, default=[0])
    upstreams.add_argument("--cache", type=str, nargs="?", const="ram")
    upstreams.add_argument("--rect", action="store_true")
    known = kit.upstream_parser.keyword_options(upstreams)

    def word(key: str, value: Any) -> list[str]:
        return list(kit.keywords.option_words(key, known[key], value))

    return lambda **given: list(kit.keywords.words_from(given, parser, known, word))


def test_a_call_is_the_settings_of_its_command_line(
    kit: SimpleNamespace, parser: argparse.ArgumentParser, words: Words
) -> None:
    given = {
        "target_macs": 0.5,
        "ignore": ["model.0", "model.1"],
        "no_export": True,
        "recalibrate": False,
        "seed": None,
    }
    line = words(**given)
    assert line == ["--target-macs=0.5", "--ignore=model.0", "--ignore=model.1", "--no-export"]
    settings = kit.options.settings_of(parser.parse_args(line), kit.options.Settings())
    assert (settings.target_macs, settings.prune_ratio, settings.export) == (0.5, None, False)
    assert settings.ignore == ("model.0", "model.1")


def test_upstreams_options_by_any_of_their_names(words: Words) -> None:
    line = words(img=64, freeze=[0, 1], cache=True, rect=True)
    assert line == ["--img-size=64", "--freeze", "0", "1", "--cache", "--rect"]
    assert words(imgsz=64) == words(img_size=64) == ["--img-size=64"]
    assert words(cache="disk", rect=False, plan=Path("-a b.yaml")) == ["--cache=disk", "--plan=-a b.yaml"]


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"target_mac": 1}, "unknown keyword 'target_mac'; did you mean target_macs?"),
        ({"help": True}, "unknown keyword 'help'"),
        ({"export": False}, "did you mean no_export?"),
        ({"deployed": "yes"}, "deployed='yes': a switch, True or False."),
        ({"steps": [1, 2]}, "steps=[1, 2]: one value, not 2."),
        ({"plan": {"a": 1}}, "plan={'a': 1}: give text or a number."),
        ({"imgsz": print}, "give text or a number."),
    ],
)
def test_what_fits_no_command_line_is_refused(
    kit: SimpleNamespace, words: Words, given: dict[str, Any], part: str
) -> None:
    with pytest.raises(kit.errors.PruneError) as caught:
        words(**given)
    assert part in str(caught.value)


def test_what_ends_a_run_is_one_error_of_one_line(kit: SimpleNamespace) -> None:
    """Of its own kind where it has one; a file's name from the system; an exit of upstream's; never the user's own."""
    for raised, kind, part in (
        (kit.errors.Busy("in\nuse"), kit.errors.Busy, "in use"),
        (FileNotFoundError(2, "No such file", "gone.pt"), kit.errors.PruneError, "is it named rightly?"),
        (SystemExit(3), kit.errors.PruneError, "upstream stopped with exit code 3"),
    ):
        with pytest.raises(kind) as caught, kit.keywords.answering():
            raise raised
        assert part in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(ZeroDivisionError), kit.keywords.answering():
        kit.keywords.theirs(lambda: 1 / 0)()
    with pytest.raises(KeyboardInterrupt), kit.keywords.answering():
        raise KeyboardInterrupt


def test_a_fork_is_first_on_the_path_and_only_for_a_while(kit: SimpleNamespace, tmp_path: Path) -> None:
    before = list(sys.path)
    with kit.keywords.imported_first(tmp_path):
        assert sys.path[0] == str(tmp_path)
        sys.path.append("added by upstream")
    assert sys.path == [*before, "added by upstream"]
    sys.path[:] = before
