# SPDX-License-Identifier: AGPL-3.0-or-later
"""An upstream's own argparse parser on a prunekit command line: every flag it has, at any pin, passes through.

Upstreams build their parser where they parse, so it is caught there.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ..errors import PruneError
from .keywords import options_by_keyword
from .options import spelled


class _Caught(Exception):
    """Carries the parser out of the script that was about to parse."""


def caught_parser(script: Callable[[], Any]) -> argparse.ArgumentParser:
    """The parser with which `script` would parse; the script gets no further.

    Raises:
        PruneError: it never parses.
    """

    def catch(parser: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> NoReturn:
        raise _Caught(parser)

    original = argparse.ArgumentParser.parse_known_args  # which parse_args asks, too
    argparse.ArgumentParser.parse_known_args = catch  # type: ignore[assignment]
    try:
        script()
    except _Caught as found:
        return found.args[0]
    finally:
        argparse.ArgumentParser.parse_known_args = original  # type: ignore[method-assign]
    raise PruneError("upstream's training script does not parse its arguments as prunekit knows it (prunekit verify)")


def parse_words(
    parser: argparse.ArgumentParser, words: Sequence[str], defaults: Mapping[str, Any], refused: Mapping[str, str]
) -> dict[str, Any]:
    """Turn what is left of a command line into upstream's options.

    Args:
        parser: upstream's; it is changed, so catch a fresh one each time.
        words: words that are not prunekit options, in order.
        defaults: options to use where the words say nothing.
        refused: {option: why it has no place here}.

    Returns:
        Every option of upstream's training script, paths as text.

    Raises:
        PruneError: a word is not an upstream argument (the nearest one is named), or a value does not fit.
    """
    parser.error = _refuse  # type: ignore[method-assign]
    parser.set_defaults(**defaults)
    options, unknown = parser.parse_known_args(spelled(list(words), parser))
    if unknown:
        _unknown(unknown[0], parser)
    for key, reason in refused.items():
        if getattr(options, key, None):
            raise PruneError(f"--{key} has no place here: {reason}.")
    return {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()}


def words_of(parser: argparse.ArgumentParser, options: Mapping[str, Any]) -> list[str]:
    """The command line on which `parser` would read `options`; keys that it does not know are left out."""
    words: list[str] = []
    for action in parser._actions:
        value = options.get(action.dest)
        if not action.option_strings or value is None or value is False:
            continue
        flag = max(action.option_strings, key=len)
        if action.nargs == 0 or value is True:
            words.append(flag)
        elif isinstance(value, (list, tuple)):
            words += [flag, *map(str, value)]
        else:
            words.append(f"{flag}={value}")  # in one word: a value may begin with a dash
    return words


def option_rows(parser: argparse.ArgumentParser, but: Collection[str]) -> dict[str, str]:
    """For `--help`: {destination: a line with flags, meaning and default}, without those in `but`."""
    return {action.dest: _row(action) for action in parser._actions if action.dest not in {"help", *but}}


def keyword_options(*parsers: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """{keyword: option} of upstream's parsers, by destination (as its own `train.run` takes them) and by flag."""
    found: dict[str, argparse.Action] = {}
    for parser in parsers:
        by_place = {action.dest: action for action in parser._actions if action.option_strings}
        found = {**by_place, **options_by_keyword(parser), **found}
    found.pop("help", None)
    return found


def _refuse(message: str) -> NoReturn:
    raise PruneError(f"{message} (see --help)")


def _unknown(word: str, parser: argparse.ArgumentParser) -> NoReturn:
    if not word.startswith("-"):
        raise PruneError(f"'{word}' is not an argument: write --key value or key=value (see --help).")
    flags = [flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")]
    near = difflib.get_close_matches(word.partition("=")[0], flags, 1)
    hint = f"did you mean {near[0]}?" if near else "see --help for the list."
    raise PruneError(f"{word} is neither a prunekit option nor an upstream train argument; {hint}")


def _row(action: argparse.Action) -> str:
    """One argument: its flags, what it means, its default."""
    default = "" if action.default in (None, False, "") else f" [{action.default}]"
    return f"  {', '.join(action.option_strings):<28} {(action.help or '').replace('%%', '%')}{default}"
