# SPDX-License-Identifier: AGPL-3.0-or-later
"""Upstream's train arguments on a prunekit command line, in any of upstream's spellings.

`--epochs 5`, `--epochs=5`, `epochs=5` and a bare switch (`--cos-lr`) all mean what `yolo train` takes them to mean.
Only the spelling is translated here; the values are upstream's to check (`ultralytics/cfg/__init__.py:get_cfg`).
"""

from __future__ import annotations

import argparse
import difflib
import os
import textwrap
from pathlib import Path
from typing import Any

from torch import device
from ultralytics.cfg import smart_value
from ultralytics.prunekit.releases import load_yaml
from ultralytics.pruning.errors import PruneError
from ultralytics.pruning.files import check_yaml
from ultralytics.pruning.scripts.options import add_options
from ultralytics.pruning.settings import Settings
from ultralytics.pruning.training.schedule import GIVEN, Schedule
from ultralytics.utils import DEFAULT_CFG_DICT

# Spellings that users of the other YOLO repositories bring along.
ALIASES = {"weights": "model", "img": "imgsz", "img_size": "imgsz", "batch_size": "batch"}
TEXTS = {"project", "name", "model", "data", "device", "optimizer"}  # in a file of train arguments
# Train arguments that a pruning run sets itself, and why.
RUN_KEYS = {"mode": "it trains and validates", "save_dir": "use --project and --name"}


def split_arguments(argv: list[str]) -> dict[str, Any]:
    """Turn what is left of a command line into upstream train overrides.

    Args:
        argv: words that are not prunekit options, in order.

    Returns:
        {upstream key: value}; values typed as upstream's own command line types them. A `cfg` file is read and
        stands below the words of the command line.

    Raises:
        PruneError: a word is not an upstream argument (the nearest one is named), a value is missing, or `cfg` cannot
            be read.
    """
    overrides: dict[str, Any] = {}
    words = list(argv)
    while words:
        key, value = _take(words)
        name = _upstream_key(key)
        if value is None and not isinstance(DEFAULT_CFG_DICT[name], bool):
            raise PruneError(f"--{key} needs a value.")
        overrides[name] = True if value is None else smart_value(value)
    return _under_config_file(overrides)


def keywords() -> list[str]:
    """Upstream's train arguments as keywords of a call."""
    return [*DEFAULT_CFG_DICT, *ALIASES]


def keyword_word(key: str, value: Any) -> list[str]:
    """One train argument of a call as a word of the command line, which reads the same value from it.

    Raises:
        PruneError: it cannot.
    """
    plain = str(value) if isinstance(value, (os.PathLike, device)) else value
    plain = plain.item() if type(plain).__module__ == "numpy" and hasattr(plain, "item") else plain
    plain = list(plain) if isinstance(plain, tuple) else plain
    if isinstance(plain, (str, int, float, list)):
        for text in (str(plain), repr(plain)):  # '123' as a name must not be read as a number
            read = smart_value(text)
            if type(read) is type(plain) and read == plain:
                return [f"--{key}={text}"]
    raise PruneError(f"{key}={value!r}: give text, a number, True or False, or a list of them.")


def _take(words: list[str]) -> tuple[str, str | None]:
    """Take one argument off the front of `words`: (key, value), value None for a bare switch."""
    word = words.pop(0)
    key, equals, value = word.removeprefix("--").partition("=")
    if equals:
        return key, value
    if not word.startswith("--"):
        raise PruneError(f"'{word}' is not an argument: write --key value or key=value (see --help).")
    if words and not words[0].startswith("--") and not _is_pair(words[0]):
        return key, words.pop(0)
    return key, None


def _is_pair(word: str) -> bool:
    """`key=value` with a key that upstream knows; a path may hold an equals sign, too."""
    key, equals, _ = word.partition("=")
    return bool(equals) and _plain(key) in DEFAULT_CFG_DICT


def _plain(key: str) -> str:
    name = key.strip().replace("-", "_")
    return ALIASES.get(name, name)


def _upstream_key(key: str) -> str:
    """The upstream name of a key written with dashes, underscores or an alias."""
    name = _plain(key)
    if name in RUN_KEYS:
        raise PruneError(f"--{key} is not yours to set here: the run decides it ({RUN_KEYS[name]}).")
    if name in DEFAULT_CFG_DICT:
        return name
    known = {option.replace("-", "_"): option for option in (*DEFAULT_CFG_DICT, *_own_options())}
    near = [option for option in known if name in option.split("_")][:1] or difflib.get_close_matches(name, known, 1)
    hint = f"did you mean --{known[near[0]]}?" if near else "see --help for the list."
    raise PruneError(f"--{key} is neither a prunekit option nor an upstream train argument; {hint}")


def _own_options() -> list[str]:
    parser = argparse.ArgumentParser()
    add_options(parser, Settings())
    return [flag.removeprefix("--") for action in parser._actions for flag in action.option_strings]


def _under_config_file(overrides: dict[str, Any]) -> dict[str, Any]:
    """Lay the command line's words over the `cfg` file's, if one was named."""
    name = overrides.pop("cfg", None)
    if not name or (str(name) == "default.yaml" and not Path(name).exists()):  # upstream's own: nothing to add
        return overrides
    check_yaml("--cfg", Path(name))
    if not Path(name).is_file():
        raise PruneError(f"--cfg {name}: no such file. It is a YAML of upstream train arguments, like default.yaml.")
    try:
        loaded = load_yaml(name)
    except Exception as error:  # the YAML library's own error names line and column
        raise PruneError(f"--cfg {name} cannot be read: {error}") from error
    print(f"Train arguments: {Path(name).resolve()}")
    if not isinstance(loaded, dict):
        raise PruneError(f"--cfg {name}: expected 'key: value' lines.")
    usual = {key: DEFAULT_CFG_DICT.get(key) for key in (*RUN_KEYS, "task")}  # default.yaml, copied whole, has them
    given = {str(k): v for k, v in loaded.items() if v is not None and k != "cfg" and usual.get(k, ...) != v}
    from_file = {_upstream_key(k): v for k, v in given.items()}
    for key in TEXTS & from_file.keys():
        if not isinstance(from_file[key], (str, int, float)):
            raise PruneError(f"--cfg {name}: {key}: {from_file[key]!r} must be text.")
    return {**from_file, **overrides}


def scheduled(overrides: dict[str, Any], schedule: Schedule) -> dict[str, Any]:
    """Train overrides with learning rate, warm-up and epochs scaled; what they do not name counts as upstream has it.

    `optimizer=auto` takes no learning rate from anyone: then it stays upstream's, and is said to.
    """
    if schedule == GIVEN:
        return overrides
    usual = {**DEFAULT_CFG_DICT, **overrides}
    epochs = schedule.epochs(usual["epochs"])
    changed = {"epochs": epochs}
    if schedule.warmup is not None:
        changed["warmup_epochs"] = min(usual["warmup_epochs"], schedule.warmup * epochs)
    if str(usual["optimizer"]).lower() == "auto":
        print("optimizer=auto chooses its own learning rate: name one (--optimizer SGD) to have it scaled.")
    else:
        changed["lr0"] = usual["lr0"] * schedule.rate
    return {**overrides, **changed}


def help_text() -> str:
    """The upstream group of `--help`: every train argument with its default, as a paragraph: there are a hundred."""
    pairs = [f"--{key} {'' if value is None else value}".rstrip() for key, value in DEFAULT_CFG_DICT.items()]
    glued = ", ".join(pairs).replace(" ", "\0").replace(",\0", ", ")  # a line ends between two pairs, never in one
    rows = textwrap.fill(glued, 118, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
    return "upstream train arguments (passed through; defaults shown):\n" + rows.replace("\0", " ")
