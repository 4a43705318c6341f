# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a checkpoint carries beside its weights: YAML rows that upstreams evaluate, arrays that name addresses."""

from __future__ import annotations

import itertools
import pickle
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from engine_helpers import modules
from torch import nn

RUN = "__import__('os').system('id')"


class Whole(nn.Module):
    """A network that builds itself from a YAML, as each upstream has one."""

    def __init__(self, cfg: str = "net.yaml") -> None:
        super().__init__()


KNOWN = {"Conv": nn.Conv2d, "Whole": Whole, "os": pickle}


@pytest.fixture(scope="module")
def parts(engine: object) -> SimpleNamespace:
    """The modules, imported as the engine is on its own."""
    inside = ("yaml_rows", "allowed", "label_cache", "reading")
    return modules(*(f"checkpoint.{name}" for name in inside), "errors")


def check(parts: SimpleNamespace, d: Any, *, evaluated: bool = True) -> None:
    parts.yaml_rows.require_rows(d, KNOWN, parts.allowed.Rules(), evaluated=evaluated)


@pytest.mark.parametrize("act", [RUN.encode(), bytearray(RUN.encode()), [RUN], {RUN: 0}, 3, "nn.SiLU(), " + RUN])
def test_an_activation_is_text_or_nothing(parts: SimpleNamespace, act: Any) -> None:
    with pytest.raises(parts.errors.PruneError, match="activation of this network's YAML"):
        check(parts, {"activation": act, "backbone": [], "head": []})


@pytest.mark.parametrize(
    "row",
    [
        {-1: 0, 1: 0, RUN: 0, ("x",): 0},
        OrderedDict({-1: 0, 1: 0, RUN: 0, ("x",): 0}),
        frozenset({-1, 1, RUN, ()}),
        [-1, 1, "Conv", {RUN: 0}],
        [-1, 1, "Conv", {RUN}],
        [-1, 1, "Conv", frozenset({RUN})],
        [-1, 1, "Conv", RUN],
        [-1, 1, RUN, []],
        [-1, 1, RUN.encode(), []],
        [-1, 1, ["Conv"], []],
        [-1, 1, "\uff45xec", ["'import os'"]],  # a wide e, which Python reads as e
        [-1, 1, "exec", ["'import os'"]],
        [-1, 1, "os", []],
        [-1, 1, "Whole", ["'net.yaml'"]],
        [-1, 1, "Conv", [RUN]],
        [-1, 1, "Conv", ["[0] * 999999999999"]],
        [-1, 1, "Conv", ["'a' * 999999999999"]],
        [-1, 1, "Conv", ["nn.\uff33iLU()"]],
    ],
    ids=itertools.count(),  # a set's text is another one in each process
)
def test_a_row_is_a_list_of_plain_values(parts: SimpleNamespace, row: Any) -> None:
    """Upstreams unpack, enumerate and evaluate; what comes apart as a row, or evaluates as text, counts."""
    with pytest.raises(parts.errors.PruneError, match="refused"):
        check(parts, {"backbone": [[-1, 1, "Conv", [64, 3]], row], "head": []})
    with pytest.raises(parts.errors.PruneError, match="refused"):
        check(parts, {"backbone": [], "head": (row,)})


@pytest.mark.parametrize("part", [np.array([[-1, 1], ["Conv", RUN]], dtype=object), {RUN: 0}, RUN])
def test_the_parts_of_a_network_are_lists(parts: SimpleNamespace, part: Any) -> None:
    with pytest.raises(parts.errors.PruneError, match="refused"):
        check(parts, {"backbone": part, "head": []})


def test_ordinary_rows_pass(parts: SimpleNamespace) -> None:
    rows = [
        [-1, 1, "Conv", [64, 3, 2]],
        [[-1, 6], 1, "Concat", [1]],
        [-1, 1, "nn.Upsample", [None, 2, "'nearest'"]],
        [-1, 3, "Conv", ["None", "nc", "anchors", "2 * 3", "nn.LeakyReLU(0.1)"]],
        (-1, 1, nn.Conv2d, (1, 2)),
        [1, 2],
    ]
    check(parts, {"activation": "nn.LeakyReLU(0.1)", "backbone": rows, "head": rows})
    check(parts, {"backbone": None, "head": rows}, evaluated=False)


class Reduced:
    """Pickles as a call."""

    def __init__(self, *made: Any) -> None:
        self.made = made

    def __reduce__(self) -> Any:
        return self.made


def forged() -> Any:
    """An array of objects whose dtype says that it holds none: its bytes are an address."""
    dtype = Reduced(np.dtype, ("O8", False, True), (3, "|", None, None, None, -1, -1, 0))
    rebuild = np.array([0]).__reduce__()[0]
    return Reduced(rebuild, (np.ndarray, (0,), b"b"), (1, (1,), dtype, False, b"AAAAAAAA"))


def test_an_array_of_addresses_is_refused(parts: SimpleNamespace, tmp_path: Path) -> None:
    torch.save({"model": forged()}, tmp_path / "forged.pt")
    with pytest.raises(parts.errors.PruneError, match=r"numpy\.dtype"):
        parts.reading.read(tmp_path / "forged.pt", rules=parts.allowed.Rules(), map_location="cpu")
    cache = tmp_path / "labels.cache.npy"
    np.save(cache, np.array({"a": 1}, dtype=object), allow_pickle=True)
    head = cache.read_bytes()[: 10 + int.from_bytes(cache.read_bytes()[8:10], "little")]
    cache.write_bytes(head + pickle.dumps(forged()))
    with pytest.raises(parts.label_cache.CacheRefused, match="forged"):
        parts.label_cache.read_cache(cache)


def test_a_scalar_of_an_address_is_refused(parts: SimpleNamespace, tmp_path: Path) -> None:
    """numpy would take the bytes for an object as it makes it: no look afterwards helps."""
    dtype = Reduced(np.dtype, ("O8", False, True), (3, "|", None, None, None, -1, -1, 0))
    scalar = Reduced(np.float64(1).__reduce__()[0], (dtype, b"AAAAAAAA"))
    cache = tmp_path / "labels.cache.npy"
    np.save(cache, np.array({"a": 1}, dtype=object), allow_pickle=True)
    head = cache.read_bytes()[: 10 + int.from_bytes(cache.read_bytes()[8:10], "little")]
    cache.write_bytes(head + pickle.dumps(scalar))
    with pytest.raises(parts.label_cache.CacheRefused, match="forged scalar"):
        parts.label_cache.read_cache(cache)


def test_ordinary_arrays_pass(parts: SimpleNamespace, tmp_path: Path) -> None:
    values = {"a": np.arange(3.0), "b": np.float64(2), "c": np.array(["x"]), "d": np.zeros((2, 2), bool)}
    torch.save(values, tmp_path / "plain.pt")
    back = parts.reading.read(tmp_path / "plain.pt", rules=parts.allowed.Rules(), map_location="cpu")
    assert all(np.array_equal(back[key], value) for key, value in values.items())
    rows = [np.zeros((2, 5), np.float32), (4, 4), [np.ones((3, 2))]]
    labels = {"a.jpg": rows, "hash": "x", "results": (1, 0), "n": np.float32(2)}
    np.save(tmp_path / "labels.npy", np.array(labels, dtype=object), allow_pickle=True)
    found = parts.label_cache.read_cache(tmp_path / "labels.npy").item()
    assert found["hash"] == "x" and found["a.jpg"][0].shape == (2, 5) and found["a.jpg"][2][0].sum() == 6
