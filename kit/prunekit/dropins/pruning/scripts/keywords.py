# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pruning from a Python program: keywords become the command line that they stand for, and are run as one.

So a call and a command line cannot differ: `target_macs=0.5` is `--target-macs=0.5`. What is different is how it ends:
a program gets an exception, never an exit.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

from ..checkpoint.reading import door
from ..errors import PruneError
from ..failures import explained, one_line

Word = Callable[[str, Any], list[str]]  # an upstream keyword and its value, as words of a command line


def words_from(
    keywords: Mapping[str, Any], parser: argparse.ArgumentParser, known: Collection[str], word: Word
) -> list[str]:
    """The command line that a call stands for; None stands for a keyword that was not given.

    Args:
        keywords: names are flags without dashes in front, with underscores.
        parser: the script's, which has prunekit's options.
        known: names of upstream's train arguments.
        word: how upstream's command line spells one of them.

    Raises:
        PruneError: a keyword that nobody knows (the nearest one is named), or a value that fits no command line.
    """
    own = options_by_keyword(parser)
    words: list[str] = []
    for key, value in keywords.items():
        if key not in own and key not in known:
            raise PruneError(_unknown(key, [*own, *known]))
        if value is not None:
            words += option_words(key, own[key], value) if key in own else word(key, value)
    return words


def options_by_keyword(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """{flag as a keyword: its option}, without --help."""
    flags = {flag: action for action in parser._actions for flag in action.option_strings if flag.startswith("--")}
    return {flag[2:].replace("-", "_"): action for flag, action in flags.items() if action.dest != "help"}


def option_words(key: str, action: argparse.Action, value: Any) -> list[str]:
    """One option of an argparse parser as words; a switch takes True or False, a list repeats or goes on.

    Raises:
        PruneError: a switch that is neither on nor off, or a value that is a list where one is wanted.
    """
    flag = max(action.option_strings, key=len)
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise PruneError(f"{key}={value!r}: a switch, True or False.")
        return [flag] if value else []
    if isinstance(value, bool) and action.nargs == "?":  # `--cache` or `--cache ram`
        return [flag] if value else []
    if not isinstance(value, (list, tuple)):
        return [f"{flag}={_text(key, value)}"]  # in one word: a value may begin with a dash
    texts = [_text(key, item) for item in value]
    if isinstance(action.nargs, (str, int)) and action.nargs != "?":
        return [flag, *texts] if texts else []
    if isinstance(action, argparse._AppendAction):
        return [f"{flag}={text}" for text in texts]
    raise PruneError(f"{key}={value!r}: one value, not {len(texts)}.")


def _text(key: str, value: Any) -> str:
    if isinstance(value, (dict, set, list, tuple)) or callable(value):
        raise PruneError(f"{key}={one_line(repr(value), 80)}: give text or a number.")
    return str(value)


def _unknown(key: str, known: Collection[str]) -> str:
    """The message for a keyword that nobody knows."""
    near = [name for name in known if key.lower() in name.split("_")][:1]
    near = difflib.get_close_matches(key.lower(), known, 1) or near
    hint = f"did you mean {near[0]}?" if near else "python prune.py --help lists them all, with dashes."
    return f"unknown keyword '{key}'; {hint}"


@contextmanager
def answering() -> Iterator[None]:
    """Within it, whatever ends a run is a PruneError with the one line that a script would have printed.

    An interrupt stays one, and so does what a function of the user's has raised (`theirs`).
    """
    try:
        with door():
            yield
    except SystemExit as stop:  # a script of upstream's, which says why in its log
        raise PruneError(f"upstream stopped with exit code {stop.code}; why is in its output above.") from stop
    except PruneError as error:
        error.args = (one_line(error),)
        raise
    except Exception as error:
        if getattr(error, "of_a_callback", False):
            raise
        raise PruneError(explained(error)) from error


def theirs(function: Callable[..., Any]) -> Callable[..., Any]:
    """A callback of the user's, whose exceptions reach the user as they are."""

    @wraps(function)
    def call(*values: Any) -> Any:
        try:
            return function(*values)
        except Exception as error:
            error.of_a_callback = True  # type: ignore[attr-defined]
            raise

    return call


@contextmanager
def imported_first(root: Path) -> Iterator[None]:
    """Within it, modules of the fork at `root` are found before those of the same name (`test`, `utils`) elsewhere."""
    before, sys.path[:] = list(sys.path), [str(root), *(place for place in sys.path if place != str(root))]
    try:
        yield
    finally:
        added = [place for place in sys.path if place not in before and place != str(root)]
        sys.path[:] = [*before, *added]
