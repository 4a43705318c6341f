# SPDX-License-Identifier: AGPL-3.0-or-later
"""`train.py --prune_ratio R`: prune the network that is about to be trained (patch 10)."""

from __future__ import annotations

import shutil
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import yaml
from pruning.checkpoint.archive import Damaged
from pruning.checkpoint.reading import know, read, stay
from pruning.errors import PruneError
from pruning.family.contract import Network
from pruning.family.ranges import require_harmless
from pruning.network.counts import Cost, count
from pruning.network.width_block import BLOCK
from pruning.planning.apply import apply_plan
from pruning.planning.plan import make_plan
from pruning.planning.proof import prove
from pruning.planning.scores import score_groups

from .network import MADE_OF, graph_of, ignored_layers, refuse_unknown, tracing
from .offline import PUBLISHED
from .ranks import first_rank
from .structure import PREFIX, close_structure, sync_attributes

STALE = ("optimizer", "ema", "updates", "training_results", "best_fitness")  # of the network before it was pruned
_ENOUGH = 0.5  # of a network's parameters that must be trained ones for its channels to be ranked


def pruning_arguments(parser: ArgumentParser) -> None:
    """Beside the arguments of both train scripts."""
    parser.add_argument(
        "--prune_ratio",
        "--prune-ratio",
        type=float,
        default=None,
        metavar="R",
        help="prunekit: remove this share of each layer's channels, then train (off)",
    )
    parser.add_argument(
        "--trust", action="store_true", help="prunekit: load a checkpoint that runs code of its own when loaded"
    )


def checked(parser: ArgumentParser) -> Namespace:
    """Parse; a damaged checkpoint, and what makes no sense together with pruning, end here: one line, exit code 2."""
    opt = parser.parse_args()
    know(MADE_OF)
    stay(trust=opt.trust)  # whatever this training loads from here on
    if wrong := (opt.prune_ratio is not None and _wrong_for_pruning(opt)) or _unreadable(opt):
        parser.error(wrong)
    return opt


def _wrong_for_pruning(opt: Namespace) -> str:
    """What --prune_ratio cannot go together with, or ""."""
    if not 0 < opt.prune_ratio < 1:
        return f"--prune_ratio {opt.prune_ratio}: must lie between 0 and 1 (the share of channels to remove)"
    if opt.device not in ("", "cpu") and not torch.cuda.is_available():
        return f"--device {opt.device}: no CUDA device here. Add --device cpu, or leave --device out"
    return "" if opt.resume else _wrong_file(opt)


def _unreadable(opt: Namespace) -> str:
    """What is wrong with a checkpoint that is there: upstream makes a run folder, then ends in a traceback."""
    flag, name = ("resume", _resumed(opt)) if opt.resume else ("weights", opt.weights)
    if not (name.endswith(".pt") and Path(name).is_file()):
        return ""
    try:
        content = read(name, map_location="cpu")
        if isinstance(content, dict) and hasattr(content.get("model"), "yaml"):
            return _not_resumable(Path(name)) if opt.resume else _replaced(opt, content["model"])
        why = "no YOLOv7 network in it"
    except Damaged as error:
        why = error.reason.partition(". ")[0]
    except PruneError as error:
        return f"--{flag} {error}"
    except Exception as error:  # noqa: BLE001 - unpickling what is damaged raises anything
        why = str(error).partition("\n")[0].partition(". ")[0] or type(error).__name__
    return f"--{flag} {name}: damaged, or not what training wrote ({why}). Copy it again, or give another one"


def _replaced(opt: Namespace, saved: Network) -> str:
    """What is wrong where another network is built than the pruned one in --weights, or a mostly random one pruned.

    Elsewhere --cfg may be another network: upstream takes over the weights that fit.
    """
    from models.yolo import Model  # imports this package itself
    from utils.general import check_file

    from .quiet import quiet

    thinned = bool(opt.cfg) and _is_pruned(saved.yaml)
    if not thinned and opt.prune_ratio is None:
        return ""
    try:
        with quiet(), torch.random.fork_rng(devices=[]):
            rows = check_file(opt.cfg) if opt.cfg else deepcopy(saved.yaml)
            built = Model(rows, ch=saved.yaml.get("ch", 3), nc=saved.yaml["nc"])
    except Exception:  # noqa: BLE001 - a YAML that builds nothing: upstream says what is wrong with it
        return ""
    have, want = ({k: tuple(v.shape) for k, v in each.state_dict().items()} for each in (saved, built))
    was, now = (sum(p.numel() for p in each.parameters()) for each in (saved, built))
    if thinned and have != want:
        return (
            f"--cfg {opt.cfg} is not the pruned network of {opt.weights}: {now:,} parameters against {was:,}, and its "
            "weights would be lost. The network comes from --weights: leave --cfg out, or give its pruned.yaml"
        )
    fit = sum(p.numel() for name, p in built.named_parameters() if have.get(name) == tuple(p.shape))
    if thinned or fit >= _ENOUGH * now:
        return ""
    where, hint = (f"--cfg {opt.cfg}", "Leave --cfg out, or give") if opt.cfg else ("its YAML", "Give")
    given = "the YAML of this network" if opt.cfg else "a checkpoint whose network is as training built it"
    return (
        f"--weights {opt.weights}: {fit / now:.0%} of the network that {where} builds are in it, the rest would be "
        f"pruned at random. {hint} {given}"
    )


def _is_pruned(d: Mapping[str, Any]) -> bool:
    """Does a `model.yaml` have a width block, or exact rows?"""
    return BLOCK in d or any(str(row[2]).startswith(PREFIX) for row in (*d["backbone"], *d["head"]))


def _resumed(opt: Namespace) -> str:
    """The checkpoint that --resume goes on with: the one named, or upstream's choice."""
    from utils.general import get_latest_run  # imports this package itself

    return opt.resume if isinstance(opt.resume, str) else str(get_latest_run())


def _not_resumable(last: Path) -> str:
    """Why a run cannot be resumed: its options hold what a shell would get, or its data set is not here.

    Upstream would run the `download:` of the data set's YAML.
    """
    try:
        options = yaml.safe_load((last.parent.parent / "opt.yaml").read_text(encoding="utf-8"))
        require_harmless(options, f"--resume {last}")
        data = options["data"]
        places = yaml.safe_load(Path(data).read_text(encoding="utf-8", errors="ignore"))["val"]
        listed = places if isinstance(places, list) else [places]
        gone = [str(place) for place in listed if not Path(str(place)).exists()]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return ""  # upstream stops at what is missing or no YAML
    except PruneError as error:
        return str(error)
    if not gone:
        return ""
    why = "what a file remembers is never downloaded"
    return f"--resume {last}: the data set of that run, {data}, is not here ({gone[0]}), and {why}"


def _wrong_file(opt: Namespace) -> str:
    """What upstream would trip over in the files that were named, or, with other weights than a .pt, pass over."""
    from utils.general import check_file  # imports this package itself

    for flag in ("data", "cfg", "hyp"):
        try:
            check_file(getattr(opt, flag))
        except AssertionError as error:
            return f"--{flag} {getattr(opt, flag)}: no such file, here or in the fork ({error})"
    weights = Path(opt.weights)
    if opt.weights and (weights.suffix != ".pt" or not (weights.is_file() or weights.name in PUBLISHED)):
        return f"--weights {opt.weights}: no such checkpoint. Give a trained one (.pt)"
    return "" if opt.weights else "no network given: --weights best.pt (channels are ranked by trained weights)"


def prune_first(model: Network, opt: Namespace, ckpt: dict[str, Any]) -> None:
    """Prune `model` in place, once: a resumed run goes on with the network that its checkpoint holds.

    Args:
        model: freshly built, weights loaded, on its device.
        opt: the options; `prune_ratio` None leaves everything as it is.
        ckpt: the checkpoint that the weights came from, {} for none; what no longer fits is dropped from it.

    Raises:
        SystemExit: this network cannot be pruned; the reason has been printed.
    """
    if getattr(opt, "prune_ratio", None) is None or opt.resume:
        return
    try:
        _prune_and_say(model, opt)
    except PruneError as error:
        if first_rank():
            _take_away(Path(opt.save_dir))
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from error
    if ckpt:
        ckpt.update(dict.fromkeys(STALE), epoch=-1)


def _take_away(folder: Path) -> None:
    """Remove the run folder that upstream has made, unless there is more in it than upstream begins a run with."""
    begun = {folder / "hyp.yaml", folder / "opt.yaml", *folder.glob("events.out.tfevents.*")}
    if set(folder.rglob("*")) == {folder / "weights", *begun}:
        shutil.rmtree(folder)


def _prune_and_say(model: Network, opt: Namespace) -> None:
    refuse_unknown(model, opt.weights or opt.cfg)
    size = max(-(-opt.img_size[0] // 64) * 64, 64)  # a multiple of every stride
    example = torch.zeros(1, model.yaml.get("ch", 3), size, size, device=next(model.parameters()).device)
    mode = model.training
    before = count(model, example)
    _prune(model, example, opt.prune_ratio)
    after = count(model, example)
    model.train(mode)
    if first_rank():
        print(f"Before Pruning: {_figures(before)}")
        print(f"After Pruning: {_figures(after)}, MACs ratio={before.macs / after.macs}")


def _prune(model: Network, example: torch.Tensor, ratio: float) -> None:
    """Local LAMP, eight channels at least, as prune_one_shot.py; all ranks of a DDP run come to the same widths."""
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    proof = prove(model, example, tracing=tracing, ignored=ignored_layers(model))
    if first_rank():
        print(f"Proof: {proof}")
    graph = graph_of(model, example, proof.kept, proof.opaque)
    scores = score_groups(graph, "lamp")
    plan = make_plan(graph, scores, ratio=ratio, round_to=16, floor=8, criterion="lamp")
    if not plan.removed:
        raise PruneError(f"--prune_ratio {ratio} removes nothing from this network: give a larger one")
    apply_plan(graph, plan, scores)
    sync_attributes(model)
    model.yaml = close_structure(model)


def _figures(cost: Cost) -> str:
    """The published form: G of MACs, M of parameters."""
    return f"MACs={cost.macs / 1e9} G, #Params={cost.params / 1e6} M"
