# SPDX-License-Identifier: AGPL-3.0-or-later
"""How important each channel of each group is, by one of ten criteria.

torch-pruning's importance classes look at every layer of a group; what they leave to the caller (gradients, a seed,
a check that the numbers rank anything at all) is here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch_pruning import ops
from torch_pruning.pruner import function
from torch_pruning.pruner import importance as tp

from ..errors import PruneError
from ..network.graph import PruningGraph, nearest
from ..settings import CRITERIA
from .reconstruction import reconstruction_scores
from .slimming import CRITERION, largest_scales

_OUTPUTS = (function.prune_conv_out_channels, function.prune_linear_out_channels)
Losses = Callable[[], Iterable[Tensor]]
Images = Callable[[], list[Tensor]]
Tracing = Callable[[nn.Module], AbstractContextManager[Any]]


def _distances(group: Any) -> Tensor | None:
    """Sum of each filter's distances to the others of its layer, the mean over the layers that give these channels.

    torch-pruning's FPGMImportance measures the distances between squared weights, and looks at inputs, too.
    """
    total: Tensor | float = 0.0
    layers = 0
    for item in group.items:
        layer: Any = item.dep.target.module
        if not isinstance(layer, (ops.TORCH_CONV, ops.TORCH_LINEAR)) or item.dep.handler not in _OUTPUTS:
            continue
        weight = layer.weight.detach().float()
        weight = weight.transpose(0, 1) if getattr(layer, "transposed", False) else weight
        filters = weight[item.idxs].flatten(1)
        summed = filters.new_zeros(len(group.items[0].idxs))
        summed.index_add_(0, torch.tensor(item.root_idxs, device=summed.device), _summed_distances(filters))
        total, layers = total + summed.cpu(), layers + 1
    return total / layers if isinstance(total, Tensor) else None


def _summed_distances(filters: Tensor) -> Tensor:
    """(channels,) of (channels, weights); in float64, for cdist's products lose small differences."""
    return torch.cdist(filters.double(), filters.double()).sum(1).float()


# normalizer=None: scores are checked before they are normalised, since LAMP ranks even equal ones
_MAKERS: Mapping[str, Callable[[], Any]] = {
    "lamp": lambda: tp.GroupMagnitudeImportance(p=2, normalizer=None),  # Lee et al., ICLR 2021, arXiv:2010.07611, eq. 1
    "l1": lambda: tp.GroupMagnitudeImportance(p=1, group_reduction="first", normalizer=None),  # arXiv:1608.08710
    "l2": lambda: tp.GroupMagnitudeImportance(p=2, group_reduction="first", normalizer=None),
    "group_norm": lambda: tp.GroupMagnitudeImportance(p=2, normalizer=None),  # DepGraph, arXiv:2301.12900, eq. 4
    CRITERION: lambda: largest_scales,  # network slimming, arXiv:1708.06519
    "taylor": lambda: tp.GroupTaylorImportance(normalizer=None),  # arXiv:1906.10771, eq. 8, without the square
    "hessian": lambda: tp.GroupHessianImportance(normalizer=None),  # optimal brain damage, with the Fisher diagonal
    "fpgm": lambda: _distances,  # arXiv:1811.00250, eq. 4
}
GRADIENT_CRITERIA = ("taylor", "hessian")
IMAGE_CRITERIA = ("reconstruction",)
DATA_CRITERIA = (*GRADIENT_CRITERIA, *IMAGE_CRITERIA)  # they look at training data


def score_groups(
    graph: PruningGraph,
    criterion: str,
    *,
    seed: int = 0,
    losses: Losses | None = None,
    images: Images | None = None,
    tracing: Tracing = nullcontext,
    per: str = "macs",
) -> dict[str, Tensor]:
    """Scores of a graph's groups: {group name: (channels,) float32 on the CPU}, higher is more important.

    A group that the criterion says nothing about (bn_scale without a BatchNorm) is left out; a plan keeps it dense.

    Args:
        criterion: one of CRITERIA.
        seed: of `random`, and of where `reconstruction` looks; the same seed gives the same scores.
        losses: yields scalar training losses of `graph.model`, graph attached, for taylor and hessian.
        images: gives unlabelled images, each (1, channels, h, w), for reconstruction.
        tracing: the mode in which every branch of `graph.model` runs, for reconstruction.
        per: the cost that reconstruction weighs an error against across groups, "macs" or "params".

    Raises:
        PruneError: unknown criterion, no losses, weights that are not finite, or nothing to rank by.
    """
    if criterion not in CRITERIA:
        raise PruneError(f"Unknown criterion {criterion!r}.{nearest(criterion, CRITERIA)} Use {', '.join(CRITERIA)}.")
    graph.check_usable()
    if criterion == "random":
        return _random(graph, seed)
    if criterion in IMAGE_CRITERIA:
        return _by_images(graph, criterion, images, tracing, seed, per)
    with _gradients(graph.model, criterion, losses):
        raw = {group.name: _score(_MAKERS[criterion](), graph.items[group.name]) for group in graph.groups}
    scores = {name: score for name, score in raw.items() if score is not None}
    _check(scores, criterion)
    return {name: _normalised(score, criterion) for name, score in scores.items()}


def flat(score: Tensor) -> bool:
    """All channels score the same, up to float32 rounding."""
    return bool(score.max() - score.min() <= 1e-6 * score.abs().max())


def _normalised(score: Tensor, criterion: str) -> Tensor:
    """Scores that can be compared across groups. Equal ones, zeros too, say nothing: such a group counts as average.

    BatchNorm scales stay as they are: one threshold for all layers is the method (arXiv 1708.06519, section 3), and
    divided by its mean, a layer in which every channel is driven to zero looks like any other.
    """
    if criterion == CRITERION:
        return score
    known = torch.ones_like(score) if flat(score) else score
    return tp.GroupMagnitudeImportance()._normalize(known, "lamp" if criterion == "lamp" else "mean")


def _random(graph: PruningGraph, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {group.name: torch.rand(group.channels, generator=generator) for group in graph.groups}


def _by_images(
    graph: PruningGraph, criterion: str, images: Images | None, tracing: Tracing, seed: int, per: str
) -> dict[str, Tensor]:
    found = images() if images is not None else []
    if not found:
        raise PruneError(f"Criterion {criterion!r} needs training images: give a data set, or use another criterion.")
    scores = reconstruction_scores(graph, found, tracing=tracing, seed=seed, per=per)
    _check(scores, criterion)
    return scores  # what a channel costs for each MAC (or parameter) that it saves: units that compare across groups


def _score(importance: Any, group: Any) -> Tensor | None:
    # Some importances sort the indices in place and forget the roots they belong to: hand them over in order.
    for item in group.items:
        order = sorted(range(len(item.idxs)), key=item.idxs.__getitem__)
        item.root_idxs = [item.root_idxs[i] for i in order]
        item.idxs[:] = [item.idxs[i] for i in order]
    score = importance(group)
    return None if score is None else score.detach().float().cpu()


def _check(scores: Mapping[str, Tensor], criterion: str) -> None:
    if not scores:
        raise PruneError(f"Criterion {criterion!r} has nothing to go by: no group holds a layer that it looks at.")
    broken = [name for name, score in scores.items() if not bool(score.isfinite().all())]
    if broken:
        raise PruneError(f"Weights or gradients of {broken[0]} (and {len(broken) - 1} more groups) are not finite.")
    if all(flat(score) for score in scores.values()):
        values = torch.cat(list(scores.values()))
        hint = "Train with sparsity first (train_sparse.py), or use" if criterion == "bn_scale" else "Use"
        raise PruneError(
            f"Criterion {criterion!r} cannot rank: within each of {len(scores)} groups all channels score the same "
            f"({len(values)} channels, scores {values.min():.4g} to {values.max():.4g}). {hint} another criterion, "
            "such as --importance lamp."
        )


@contextmanager
def _gradients(model: nn.Module, criterion: str, losses: Losses | None) -> Iterator[None]:
    """Gradients of the calibration losses in `.grad` while inside: their sum (taylor) or mean square (hessian).

    The losses may run the model in training mode: its statistics, modes and flags are as before afterwards.
    """
    if criterion not in GRADIENT_CRITERIA:
        yield
        return
    if losses is None:
        raise PruneError(f"Criterion {criterion!r} needs calibration losses: give losses, or use another criterion.")
    flags = {parameter: parameter.requires_grad for parameter in model.parameters()}
    modes = {module: module.training for module in model.modules()}
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        for parameter in flags:
            parameter.requires_grad_(parameter.is_floating_point())
        _accumulate(list(flags), criterion, losses())
        yield
    finally:
        for parameter, flag in flags.items():
            parameter.grad = None
            parameter.requires_grad_(flag)
        for module, mode in modes.items():
            module.training = mode
        for buffer, before in buffers:
            buffer.copy_(before)


def _accumulate(parameters: list[nn.Parameter], criterion: str, losses: Iterable[Tensor]) -> None:
    # torch-pruning's own accumulation for the Hessian overwrites instead of adding: done here.
    power, number = (2 if criterion == "hessian" else 1), 0
    sums = [torch.zeros_like(parameter) for parameter in parameters]
    for loss in losses:
        if not (isinstance(loss, Tensor) and loss.numel() == 1 and loss.requires_grad):
            raise PruneError("Calibration losses must be scalar tensors with a graph (training mode, grad on).")
        number += 1
        # create_graph is not needed: the Fisher diagonal stands for the Hessian
        for total, gradient in zip(sums, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True):
            if gradient is not None:
                total.add_(gradient.detach() ** power)
    if not number:
        raise PruneError(f"Criterion {criterion!r} got no calibration loss: is the data set empty?")
    for parameter, total in zip(parameters, sums, strict=True):
        parameter.grad = total / number if criterion == "hessian" else total
