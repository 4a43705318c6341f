# SPDX-License-Identifier: AGPL-3.0-or-later
"""The proof for removed bottlenecks: the network without them computes what it computes with the identity there."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import PruneError
from ..network.stacks import Stack, Tracing, cut, mask
from .compare import Differs, Film, play, record
from .draw import evaluating, images, randomise


def prove_cut(model: nn.Module, example: Tensor, removed: Sequence[tuple[Stack, list[int]]], tracing: Tracing) -> Film:
    """Compare the masked network with the cut one, in float64, weights and statistics drawn at random.

    Inputs and outputs of every module that both have are compared, in the mode of the trace and in eval mode. The
    reader's weights for a removed slice are random, too: zeros are a case of it.

    Args:
        model: the network before; it is not changed.
        example: one image of the run; a small one is taken where the network takes it.
        removed: each block with the bottlenecks that go.

    Raises:
        PruneError: a block that computes something else without them.
    """
    masked = copy.deepcopy(model).cpu().double()
    randomise(masked)
    image = next(images(masked, example, tracing))
    for stack, gone in removed:
        own = masked.get_submodule(stack.reader).get_parameter("weight").data.clone()
        mask(masked, stack, gone)
        masked.get_submodule(stack.reader).get_parameter("weight").data.copy_(own)
    cut_one = copy.deepcopy(masked)
    for stack, gone in removed:
        cut(cut_one, stack, gone)
    inside = tuple(f"{stack.name}.m." for stack, _ in removed)
    only = {name for name, _ in masked.named_modules() if not name.startswith(inside)}
    whole = Film()
    for state in (tracing, evaluating):
        try:
            with state(masked), torch.no_grad():
                film = record(masked, image, only)
            with state(cut_one), torch.no_grad():
                play(cut_one, image, film, only)
        except Differs as stop:
            raise PruneError(
                f"{stop.seen or 'The network'} computes something else without these bottlenecks ({stop.reason}): keep "
                f"them, with --ignore {removed[0][0].name} or a smaller --remove-blocks."
            ) from stop
        whole.error, whole.compared = max(whole.error, film.error), whole.compared + film.compared
    return whole
