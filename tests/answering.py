# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the programs share that answer a test's questions from inside a fork; they find it by its folder."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import nn


def count(model: nn.Module) -> int:
    """Parameters."""
    return sum(p.numel() for p in model.parameters())


def row(model: nn.Module, digits: int) -> dict[str, Any]:
    """The widths that a rank has trained, and the sum of its weights, rounded."""
    widths = {name: m.out_channels for name, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    total = float(sum(p.detach().double().sum() for p in model.parameters()))
    return {"widths": widths, "total": round(total, digits)}


def attempt(call: Callable[[], Any]) -> Any:
    """What a call returns, or what it raises, as text: both are answers."""
    try:
        return call()
    except (Exception, SystemExit) as error:  # noqa: BLE001
        return f"{type(error).__name__}: {error}"


def answer(functions: Mapping[str, Any], mark: str = "ANSWERS") -> None:
    """Answer the questions in the first word, [[name, argument, ...], ...], in a line behind `mark`."""
    answers = [attempt(partial(functions[name], *words)) for name, *words in json.loads(sys.argv[1])]
    print(f"\n{mark}{json.dumps(answers)}", flush=True)
