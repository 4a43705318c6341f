# SPDX-License-Identifier: AGPL-3.0-or-later
"""A data set that only a checkpoint, or the record of a run, names: used where it is here, never fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ultralytics.data.utils import check_det_dataset
from ultralytics.pruning.files import check_yaml
from ultralytics.utils import DATASETS_DIR


def why_not_here(data: Any, task: str) -> str:
    """Why a remembered data set cannot be used, "" if it can.

    Only what the user names is downloaded: a checkpoint's URL, or the `download:` of a YAML that it names, may be
    anybody's. A data set that is here needs neither.
    """
    if not isinstance(data, str) or not data:
        return f"{str(data)[:80]!r} is no path"
    if "://" in data or data.lower().startswith(("http:", "https:", "ul:")):
        return f"{data} is an address: what a file remembers is never downloaded"
    if task == "classify":
        return "" if Path(data).is_dir() or (DATASETS_DIR / data).is_dir() else f"{data} is not here"
    if not data.endswith((".yaml", ".yml")) and not Path(data).is_dir():
        return f"{data} is no YAML of a data set"
    try:
        check_yaml("the remembered", Path(data))
        check_det_dataset(data, autodownload=False)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - upstream raises many kinds, all of which say so
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        return f"{data} is not here, and what a file remembers is never downloaded ({first})"
    return ""
