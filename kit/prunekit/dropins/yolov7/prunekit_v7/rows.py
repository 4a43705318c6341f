# SPDX-License-Identifier: AGPL-3.0-or-later
"""Explicit inner widths of the blocks whose row in a YAML names one width only: SPPCSPC, DownC, RepConv.

`widths_of_block` reads what `fitted` applies; the classes stay upstream's own.
"""

from __future__ import annotations

from typing import Any

from models.common import SPPCSPC, DownC, RepConv
from pruning.errors import PruneError
from pruning.family.contract import Network
from pruning.network.widths import apply_widths

POOLED = 4  # SPPCSPC stacks cv4's output and three poolings of it


def widths_of_block(block: Network) -> dict[str, Any]:
    """The last argument of a block's exact row; empty for a block whose row says everything."""
    if type(block) is RepConv:
        return {} if block.rbr_identity is not None else {"identity": False}
    inner = {SPPCSPC: 6, DownC: 3}.get(type(block), 0)
    return {f"cv{i}": getattr(block, f"cv{i}").conv.out_channels for i in range(1, inner + 1)}


def fitted(block: Network, widths: dict[str, Any]) -> None:
    """Give a fresh block the inner widths of its row, in place.

    Raises:
        PruneError: the row's widths are not those of the block, or do not fit together.
    """
    known = {SPPCSPC: [f"cv{i}" for i in range(1, 7)], DownC: ["cv1", "cv2", "cv3"], RepConv: ["identity"]}
    wanted = known.get(type(block))
    if wanted is None or sorted(widths) != wanted:
        has = ", ".join(wanted) if wanted else "no explicit widths"
        raise PruneError(f"row {type(block).__name__} {widths}: this block has {has}")
    if type(block) is RepConv:
        return _without_identity(block, widths["identity"])
    _apply(block, widths)
    return None


def _without_identity(block: RepConv, identity: Any) -> None:
    if identity is not False:
        raise PruneError(f"row RepConv {{identity: {identity}}}: only false has to be said")
    block.rbr_identity = None


def _apply(block: Network, widths: dict[str, int]) -> None:
    """Resize the convolutions of a SPPCSPC or DownC; what goes in and what comes out is as the row says."""
    out = block.cv7.conv.out_channels if isinstance(block, SPPCSPC) else sum(widths[key] for key in ("cv2", "cv3"))
    one = block.cv1.conv.in_channels
    if isinstance(block, DownC) and out // 2 != block.cv2.conv.out_channels:
        raise PruneError(f"row DownC {widths}: cv2 and cv3 make {out} channels, the row says another number")
    if isinstance(block, SPPCSPC):
        ins = {
            "cv1": one,
            "cv2": one,
            "cv3": widths["cv1"],
            "cv4": widths["cv3"],
            "cv5": POOLED * widths["cv4"],
            "cv6": widths["cv5"],
            "cv7": widths["cv6"] + widths["cv2"],
        }
    else:
        ins = {"cv1": one, "cv2": widths["cv1"], "cv3": one}
    apply_widths(block, {f"{key}.conv": [ins[key], {**widths, "cv7": out}[key]] for key in ins})
