# SPDX-License-Identifier: AGPL-3.0-or-later
"""The page that support.py writes from its rows."""

from __future__ import annotations

from typing import Any

SETTINGS = [(scope, multiple) for scope in ("local", "global") for multiple in (16, 1)]


def table(found: list[dict[str, Any]]) -> str:
    """docs/support.md."""
    lines = [
        "# Which networks can be pruned\n",
        "Every model YAML that the three upstreams ship, in its smallest scale, with random weights; made by "
        "`benchmarks/support.py`, figures in [support.json](support.json).",
        "`error`: the largest difference of the pruned and the masked network in the input or output of any module "
        "(float64, relative). `rebuilt`: of the pruned network and one built from its YAML and loaded strictly, the "
        "largest of four prunings.",
        "The next three are of one pruning (global, multiples of 1): `stock`, the outputs of its checkpoint in the "
        "unpatched upstream beside the fork's; `ONNX`, upstream's own export by onnxruntime beside torch; `counts`, "
        "multiply-adds of layers with weights, ours less `torch.utils.flop_counter`'s, dense and pruned; "
        "empty where not run.",
        "MACs left: half of the channels, local and global, in multiples of 16 and of 1. Kept: layers beside the "
        "outputs whose channels stay, with the reason. nn.MultiheadAttention's own projections are no layers here: "
        "yolov5s-transformer's `counts` are theirs, before and after.\n",
        "| upstream | network | error | rebuilt | stock | ONNX | counts | MACs left, % (local 16, 1; global 16, 1) "
        "| groups | kept |",
        "|---" * 10 + "|",
    ]
    order = {"v8": 0, "v5": 1, "v7": 2}
    for each in sorted(found, key=lambda row: (order[row["upstream"]], row["folder"], row["yaml"])):
        start = f"| {each['upstream']} | {each['folder']}/{each['yaml']} "
        if "error" in each:
            left = ", ".join(f"{100 * each['macs_left'][f'{scope} {n}']:.0f}" for scope, n in SETTINGS)
            kept = "; ".join(f"{number} {why}" for why, number in each["kept"].items())
            figures = f"{each['error']:.0e} | {each['rebuilt']:.0e} | {_checked(each)}"
            lines.append(f"{start}| {figures} | {left} | {each['groups']} | {kept} |")
        else:
            said = "refused: " + each["refused"] if "refused" in each else each["failed"]
            lines.append(f"{start}| | | | | | | | {said} |")
    return "\n".join(lines) + "\n"


def _checked(each: dict[str, Any]) -> str:
    """Cells of what `further` has found."""
    if "onnx" not in each:
        return "| |"
    return f"{each['stock']:.0e} | {each['onnx']:.0e} | {', '.join(f'{number:,}' for number in each['counts'])}"
