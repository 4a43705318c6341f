# SPDX-License-Identifier: AGPL-3.0-or-later
"""The functions that the patches call. Each patch inserts a line or two; what they do is here, and tested here."""

from __future__ import annotations

import inspect
import logging
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from pruning.errors import PruneError
from pruning.family import hooks as shared
from pruning.family.contract import Network
from pruning.family.hooks import keep_norms
from pruning.network.width_block import BLOCK
from torch import nn
from ultralytics.utils import LOGGER, RANK, colorstr

from . import structure

__all__ = ["keep_norms"]  # with the functions below, all that the patches call
PREFIX = colorstr("prunekit: ")

# Which hooks stand in which file; `pruning.family.hooked` looks before a run.
HOOKED: dict[str, tuple[str, ...]] = {
    "classify/val.py": ("autocast",),
    "utils/general.py": ("amp_off", "local_font", "ask_first", "without_remote"),
    "segment/train.py": ("bn_l1", "say_if_dense", "join_ranks"),
    "train.py": ("bn_l1", "say_if_dense", "join_ranks"),
    "models/tf.py": ("open_structure",),
    "models/yolo.py": ("keep_norms", "open_structure", "keep_structure"),
}


def _say(text: str, level: int = logging.INFO) -> None:
    """One line, of the first rank only."""
    if RANK in {-1, 0}:
        LOGGER.log(level, f"{PREFIX}{text}")


def amp_off(model: Network) -> bool:
    """Patch 1, in `check_amp`, on every DDP rank: train in full precision."""
    if next(model.parameters()).device.type not in ("cpu", "mps"):
        _say(shared.AMP_OFF)
    return True


def autocast(half: bool) -> None:
    """Patch 1, within the autocast of classify/val.py, which is on wherever there is a GPU: on only if asked for."""
    torch.set_autocast_enabled("cuda", bool(half))


bn_l1 = shared.penalty(_say)  # patch 2, once per optimizer step


def open_structure(d: dict[str, Any]) -> dict[str, Any]:
    """Patch 3, at the start of both `parse_model`: take the guard off its YAML, refuse one that runs code."""
    return shared.opened(structure.open_structure(d), "models.yolo", evaluated=True)


def keep_structure(layers: Sequence[nn.Module], d: dict[str, Any]) -> None:
    """Patch 3, before `parse_model` returns: give the layers the pruned widths."""
    shared.say_kept(layers, structure.fit_layers(layers, d), lambda text: LOGGER.info(f"{PREFIX}{text}"))


def say_if_dense(saved: Network, built: Network, cfg: str) -> None:
    """Patch 3, after train.py has loaded weights: stop where --cfg replaces a pruned network by another one.

    Raises:
        SystemExit: 2; the reason has been printed, and the run's folder, in which nothing was trained, is gone.
    """
    if not cfg or BLOCK not in saved.yaml or BLOCK in built.yaml:
        return
    was, now = (sum(p.numel() for p in model.parameters()) for model in (saved, built))
    if RANK in {-1, 0}:
        caller = inspect.currentframe()  # the patch hands no folder over
        if caller is not None and caller.f_back is not None:
            _take_away(caller.f_back.f_locals.get("save_dir"))
        print(
            f"error: --cfg {cfg} is not the pruned network of --weights ({now:,} parameters against {was:,}), whose "
            "weights would be lost. To train the pruned one, leave --cfg out or give its pruned.yaml",
            file=sys.stderr,
        )
    raise SystemExit(PruneError.exit_code)


def _take_away(folder: Path | None) -> None:
    """Remove the run folder that upstream has made, unless there is more in it than upstream begins a run with."""
    if folder is None or not Path(folder).is_dir():
        return
    begun = {folder / "hyp.yaml", folder / "opt.yaml", folder / "weights", *folder.glob("events.out.tfevents.*")}
    if set(Path(folder).rglob("*")) <= begun:
        shutil.rmtree(folder)


def ask_first(check: Callable[..., Any]) -> Callable[..., Any]:
    """Patch 4, around `check_requirements`: only who asks for it gets packages installed.

    opencv-python and ultralytics are not looked for: they are imported by then, whichever package brought them.
    """

    @wraps(check)
    def checked(*requirements: Any, exclude: Sequence[str] = (), install: bool = True, **more: Any) -> Any:
        asked = any(os.environ.get(name, "").lower() == "true" for name in ("YOLO_AUTOINSTALL", "YOLOv5_AUTOINSTALL"))
        there = ("opencv-python", "ultralytics")
        return check(*requirements, exclude=(*exclude, *there), install=install and asked, **more)

    return checked


def without_remote(info: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Patch 4, around `check_git_info`, which before July 2026 asks for the remote `origin`, and a fork has none."""

    @wraps(info)
    def known(*path: Any) -> dict[str, Any]:
        try:
            return info(*path)
        except AttributeError:
            return dict.fromkeys(("remote", "branch", "commit"))

    return known


def local_font(file: Path) -> bool:
    """Patch 4, in `check_font`: put matplotlib's own font where upstream looks for Arial, instead of downloading it."""
    import matplotlib

    source = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    if not source.is_file():
        return False
    shutil.copyfile(source, file)
    return True


def join_ranks(device: torch.device, local_rank: int) -> torch.device:
    """Patch 5, before a rank joins the others: on a CPU it does so by gloo here, on a GPU by nccl in upstream's lines.

    Returns:
        The device of this rank, also where it had joined already: prune.py trains more than once in a process.
    """
    if device.type != "cpu":
        return torch.device("cuda", local_rank) if dist.is_initialized() else device
    if not dist.is_initialized():
        dist.init_process_group("gloo", timeout=timedelta(hours=3))
    return device
