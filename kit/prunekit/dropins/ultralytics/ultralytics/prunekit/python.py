# SPDX-License-Identifier: AGPL-3.0-or-later
"""`YOLO("best.pt").prune(...)`: prune.py as a method."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from ultralytics.pruning.errors import PruneError
from ultralytics.pruning.run.outcome import Outcome
from ultralytics.pruning.scripts import prune as command
from ultralytics.pruning.scripts.keywords import answering, words_from
from ultralytics.pruning.settings import Settings

from .adapter import ROOT
from .arguments import keyword_word, keywords
from .events import added, watcher
from .foreign import require_own
from .main import Upstream
from .releases import load_checkpoint

DEFAULTS = Settings(steps=5, round_to=16, schedule="scaled")  # those of prune.py
PUBLISHED = {"iterative_steps": "steps", "target_prune_rate": "prune_ratio"}  # as yolo11_pruning.py calls them


def prune(model: Any, given: Mapping[str, Any]) -> tuple[Any, Outcome]:
    """Prune a YOLO object's network; the object itself stays as it is.

    Args:
        model: an upstream `Model`, loaded from a checkpoint or just trained.
        given: the flags of prune.py with underscores, and upstream's train arguments.

    Returns:
        The pruned network as such an object, with the callbacks of `model`; and the run's figures and files. With
        `plan_only` it is `model`.

    Raises:
        PruneError: whatever ended the run, with the one line that prune.py would have printed.
    """
    with answering():
        require_own(ROOT / "prune.py")
        functions = added(model)
        upstream = Upstream(functions)
        outcome = command.prune("", DEFAULTS, _words(model, given, upstream), upstream, watcher(functions))
    if outcome.path is None:
        return model, outcome
    pruned = type(model)(outcome.path, task=model.task)
    for event, added_ones in functions.items():
        for function in added_ones:
            pruned.add_callback(event, function)
    return pruned, outcome


def _words(model: Any, given: Mapping[str, Any], upstream: Upstream) -> list[str]:
    """The command line that the call stands for."""
    for key in ("model", "weights"):
        if key in given:
            raise PruneError(f"{key}: the network is the one that prune() is called on. Leave it out.")
    for new, old in PUBLISHED.items():
        if new in given and old in given:
            raise PruneError(f"{new} and {old} are the same: give one.")
    named = {PUBLISHED.get(key, key): value for key, value in given.items()}
    parser = command.parser_of("", DEFAULTS, upstream)
    words = words_from(named, parser, [*keywords(), *PUBLISHED], keyword_word)
    return words if named.get("resume") else [f"--weights={checkpoint_of(model)}", *words]


def checkpoint_of(model: Any) -> Path:
    """The file that holds a YOLO object's network.

    Raises:
        PruneError: it is an exported file, has never been trained, or is in memory only.
    """
    network = model.model
    if not isinstance(network, nn.Module):
        raise PruneError(
            f"{model.model_name or network}: an exported network cannot be pruned. Prune the checkpoint that it was "
            "made from, then export: YOLO('best.pt').prune(...)"
        )
    file = getattr(network, "pt_path", None) or getattr(model, "ckpt_path", None)
    if not file and not model.ckpt:
        raise PruneError(
            f"{model.cfg or 'this network'}: built from a YAML and never trained; pruning needs trained weights. Train "
            "it first, model.train(data=...), or load a checkpoint, YOLO('best.pt')."
        )
    if not file or not Path(file).is_file() or not _holds(Path(file), network):
        where = f"{file} does not hold them" if file and Path(file).is_file() else f"{file or 'no file'} is theirs"
        raise PruneError(
            f"the weights of this network are in memory only ({where}). Save them first: model.save('mine.pt'), then "
            "YOLO('mine.pt').prune(...)"
        )
    return Path(file)


def _holds(file: Path, network: Any) -> bool:
    """Is it this network that the file holds? Validation may have fused it in memory."""
    saved = load_checkpoint(str(file))[0]
    fused = hasattr(network, "is_fused") and network.is_fused()
    if fused and not saved.is_fused():
        saved = saved.float().fuse(verbose=False)
    here, there = network.state_dict(), saved.state_dict()
    if {name: value.shape for name, value in here.items()} != {name: value.shape for name, value in there.items()}:
        return False
    close = 1e-4 if fused else 0.0
    pairs = ((value.cpu(), there[name].cpu().to(value.dtype)) for name, value in here.items())
    return all(torch.allclose(one.float(), other.float(), rtol=close, atol=close) for one, other in pairs)
