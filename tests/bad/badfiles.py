# SPDX-License-Identifier: AGPL-3.0-or-later
"""Bad files of every kind, made from good ones: checkpoints, data sets, plans, reports, tables, settings."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import yaml

DEEP = 20_000
BOMB = "\n".join(["x0: &x0 [x]", *(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]" for n in range(1, 9))])
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def make_all(weights: Path, data: Path, folder: Path, hyp: Path | None = None) -> None:
    """Fill `folder` with bad files; `weights` is a good checkpoint with 10 classes, `data` a good data set's YAML."""
    make_checkpoints(weights, folder)
    make_sets(data, folder)
    make_texts(folder)
    if hyp:
        make_hyps(yaml.safe_load(hyp.read_text()), folder)


# --- checkpoints ----------------------------------------------------------------------------------------------------


def make_checkpoints(weights: Path, folder: Path) -> None:
    """Checkpoints that a user, another tool or a full disk leaves behind."""
    content = torch.load(weights, map_location="cpu", weights_only=False)
    model = content["model"]
    whole = {
        "whole": model,
        "state": model.state_dict(),
        "listed": [1, 2],
        "number": 5,
        "nothing": None,
        "tensor": torch.zeros(3),
        "keyless": {"epoch": 1},
        "words": {**content, "model": "text"},
        "statein": {**content, "model": model.state_dict()},
        "linear": {**content, "model": torch.nn.Linear(2, 2)},
        "ema": {**content, "ema": "text"},
        "empty_dict": {},
        "intkeys": {1: model},
    }
    for name, value in whole.items():
        torch.save(value, folder / f"{name}.pt")
    for name, change in CHANGES.items():
        changed = deepcopy(content)
        change(changed, changed["model"])
        torch.save(changed, folder / f"{name}.pt")
    raw = weights.read_bytes()
    (folder / "cut.pt").write_bytes(raw[: len(raw) // 3])
    (folder / "flipped.pt").write_bytes(raw[:2000] + bytes(200) + raw[2200:])
    (folder / "none.pt").write_bytes(b"")
    (folder / "garbage.pt").write_bytes(os.urandom(4000))
    (folder / "folder.pt").mkdir()
    os.symlink("loop.pt", folder / "loop.pt")
    (folder / "was" / "weights").mkdir(parents=True)
    (folder / "was" / "weights" / "best.pt").write_bytes((folder / "remembers.pt").read_bytes())
    (folder / "was" / "opt.yaml").write_text("data: /nowhere/data.yaml\n")
    with zipfile.ZipFile(folder / "zip.pt", "w") as archive:
        archive.writestr("hello.txt", "not a checkpoint")
    html, header = b"<!DOCTYPE html><html>404</html>", b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    foreign = {
        "html": html,
        "safetensors": len(header).to_bytes(8, "little") + header + bytes(4),
        "onnx": b"\x08\x08\x12\x07pytorch" + bytes(100),
        "gz": gzip.compress(raw),
        "engine": b"ftrt" + bytes(4000),
        "tail": raw[: -len(raw) // 4],
    }
    for name, value in foreign.items():
        (folder / f"{name}.pt").write_bytes(value)
        (folder / f"foreign.{name}").write_bytes(value)
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), folder / "script.pt")


def _drop(name: str) -> Callable[[dict[str, Any], Any], None]:
    return lambda _, model: delattr(model, name) if hasattr(model, name) else None


def _set(name: str, value: Any) -> Callable[[dict[str, Any], Any], None]:
    return lambda _, model: setattr(model, name, value)


def _top(name: str, value: Any) -> Callable[[dict[str, Any], Any], None]:
    return lambda content, _: content.__setitem__(name, value)


def _inside(name: str, value: Any) -> Callable[[dict[str, Any], Any], None]:
    def change(_: dict[str, Any], model: Any) -> None:
        model.yaml = {**model.yaml, name: value}
        if value is None:
            model.yaml.pop(name)

    return change


def _remembers(content: dict[str, Any], model: Any) -> None:
    """A data set that is gone since; ultralytics and YOLOv5 note it in the file, YOLOv7 beside it."""
    for key, where in (("train_args", content), ("opt", content), ("args", vars(model))):
        where[key] = {**(where.get(key) or {}), "data": "/nowhere/data.yaml"}


def _nan(_: dict[str, Any], model: Any) -> None:
    for parameter in model.parameters():
        parameter.data.fill_(float("nan"))


CHANGES: dict[str, Callable[[dict[str, Any], Any], None]] = {
    "stride_none": _set("stride", None),
    "stride_gone": _drop("stride"),
    "stride_zero": _set("stride", torch.zeros(3)),
    "stride_words": _set("stride", "32"),
    "stride_empty": _set("stride", torch.zeros(0)),
    "yaml_none": _set("yaml", None),
    "yaml_gone": _drop("yaml"),
    "yaml_list": _set("yaml", [1]),
    "yaml_text": _set("yaml", "yolo.yaml"),
    "yaml_nc": _inside("nc", None),
    "yaml_words": _inside("nc", "ten"),
    "yaml_head": _inside("head", None),
    "names_none": _set("names", None),
    "names_gone": _drop("names"),
    "names_few": _set("names", {0: "a"}),
    "names_number": _set("names", 5),
    "layers": _set("model", None),
    "save": _set("save", None),
    "args_none": _set("args", None),
    "args_list": _set("args", [1, 2]),
    "args_words": _set("args", {"imgsz": "huge", "data": 5}),
    "opt_none": _top("opt", None),
    "opt_text": _top("opt", "text"),
    "opt_words": _top("opt", {"imgsz": "huge", "data": 7}),
    "train_none": _top("train_args", None),
    "train_list": _top("train_args", [1]),
    "epoch": _top("epoch", "last"),
    "hyp": _set("hyp", "text"),
    "nan": _nan,
    "remembers": _remembers,
}

# --- data sets ------------------------------------------------------------------------------------------------------


def make_sets(data: Path, folder: Path) -> None:
    """Data YAMLs with every kind of mistake, and data sets with damaged images and labels."""
    good = yaml.safe_load(data.read_text())
    root = Path(good["path"])
    for name, change in YAMLS.items():
        changed = dict(good)
        change(changed)
        (folder / f"d_{name}.yaml").write_text(yaml.safe_dump(changed, sort_keys=False, allow_unicode=True))
    for name, text in RAW.items():
        (folder / f"d_{name}.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    (folder / "d_folder.yaml").mkdir()
    os.mkfifo(folder / "d_pipe.yaml")
    os.symlink("d_link.yaml", folder / "d_link.yaml")
    for name, spoil in SETS.items():
        made = folder / "sets" / name
        shutil.copytree(root, made, ignore=shutil.ignore_patterns("*.cache"))
        spoil(made)
        places = {"path": str(made), "train": str(made / "images/train"), "val": str(made / "images/val")}
        (folder / f"s_{name}.yaml").write_text(yaml.safe_dump({**good, **places}, sort_keys=False))


YAMLS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no_train": lambda d: d.pop("train"),
    "no_val": lambda d: d.pop("val"),
    "no_names": lambda d: d.pop("names"),
    "no_nc_names": lambda d: (d.pop("names"), d.pop("nc")),
    "train_none": lambda d: d.update(train=None),
    "val_none": lambda d: d.update(val=None),
    "train_number": lambda d: d.update(train=5),
    "val_list": lambda d: d.update(val=[5]),
    "val_dict": lambda d: d.update(val={"a": 1}),
    "train_empty": lambda d: d.update(train=[]),
    "val_text": lambda d: d.update(val=""),
    "gone": lambda d: d.update(val="/nowhere/at/all"),
    "train_gone": lambda d: d.update(train="/nowhere/at/all"),
    "names_short": lambda d: d.update(names=["a"]),
    "names_text": lambda d: d.update(names="text"),
    "names_number": lambda d: d.update(names=5),
    "names_dict": lambda d: d.update(names={"a": 1}),
    "names_gap": lambda d: d.update(names={0: "a", 99: "b"}),
    "nc_text": lambda d: d.update(nc="ten"),
    "nc_none": lambda d: d.update(nc=None),
    "nc_zero": lambda d: d.update(nc=0),
    "nc_list": lambda d: d.update(nc=[10]),
    "nc_minus": lambda d: d.update(nc=-1),
    "nc_nan": lambda d: d.update(nc=float("nan")),
    "path_number": lambda d: d.update(path=5),
    "path_list": lambda d: d.update(path=["a"]),
    "names_tree": lambda d: d.update(names=[["a"]] * 10),
    "null": lambda d: d.update(val="a\0b"),
    "newline": lambda d: d.update(val="a\nb"),
    "file": lambda d: d.update(val=__file__),
    "nc_other": lambda d: d.update(nc=5),
    "eighty": lambda d: d.update(nc=80, names=[str(n) for n in range(80)]),
    "names_other": lambda d: d.update(names={"a": "b", "c": "d"}),
    "device": lambda d: d.update(val="/dev/zero"),
}
RAW: dict[str, str | bytes] = {
    "list": "- a\n- b\n",
    "text": "hello",
    "empty": "",
    "number": "5",
    "broken": "train: [a\nval: }",
    "tab": "a:\n\t- b",
    "binary": bytes(range(256)),
    "latin": "train: a\nval: b\nnames: [caf\u00e9]\n".encode("latin-1"),
    "utf16": "train: a\n".encode("utf-16"),
    "deep": "[" * DEEP,
    "deepmap": "{a: " * DEEP,
    "intkeys": "1: 2\n3: 4\n",
    "tag": "!!python/object/apply:os.system ['touch owned']",
    "alias": "a: *b\n",
    "loop": "&a [*a]\n",
    "dup": "? [a]\n: b\n",
    "bomb": f"{BOMB}\ntrain: *x8\nval: *x8\nnc: *x8\nnames: *x8\n",
}


def _labels(text: str | bytes, *splits: str) -> Callable[[Path], None]:
    """Every label of these splits becomes `text`."""

    def spoil(root: Path) -> None:
        for split in splits or ("train", "val"):
            for file in (root / "labels" / split).iterdir():
                file.write_bytes(text if isinstance(text, bytes) else text.encode())

    return spoil


def _one_label(text: str | bytes) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        for split in ("train", "val"):
            file = sorted((root / "labels" / split).iterdir())[0]
            file.write_bytes(text if isinstance(text, bytes) else text.encode())

    return spoil


def _images(change: Callable[[bytes], bytes], only: int | None = None) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        for split in ("train", "val"):
            for file in sorted((root / "images" / split).iterdir())[:only]:
                file.write_bytes(change(file.read_bytes()))

    return spoil


def _named(name: bytes, *splits: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        for split in splits or ("train", "val"):
            file = sorted((root / "images" / split).iterdir())[0]
            os.rename(file, os.path.join(os.fsencode(file.parent), name))

    return spoil


def _loops(root: Path) -> None:
    for split in ("train", "val"):
        os.symlink("again", root / "images" / split / "again")
        os.symlink("x.png", root / "images" / split / "x.png")
        os.symlink("..", root / "images" / split / "up")


def _small() -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "PNG")
    return buffer.getvalue()


def _vast() -> bytes:
    """An image that says that it has 2.5 thousand million pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


def _folders(part: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        for split in ("train", "val"):
            for file in (root / part / split).iterdir():
                file.unlink()
                file.mkdir()

    return spoil


SETS: dict[str, Callable[[Path], None]] = {
    "class_out": _labels("99 0.5 0.5 0.2 0.2\n"),
    "class_val": _labels("99 0.5 0.5 0.2 0.2\n", "val"),
    "class_train": _labels("99 0.5 0.5 0.2 0.2\n", "train"),
    "class_minus": _labels("-1 0.5 0.5 0.2 0.2\n"),
    "class_float": _labels("1.5 0.5 0.5 0.2 0.2\n"),
    "class_one": _one_label("99 0.5 0.5 0.2 0.2\n"),
    "class_huge": _labels("1e30 0.5 0.5 0.2 0.2\n"),
    "over": _labels("1 5 5 2 2\n"),
    "over_one": _one_label("1 5 5 2 2\n"),
    "minus": _labels("1 -0.5 0.5 0.2 0.2\n"),
    "nan": _labels("1 nan nan nan nan\n"),
    "nan_one": _one_label("1 nan nan nan nan\n"),
    "nan_class": _labels("nan 0.5 0.5 0.2 0.2\n"),
    "inf": _labels("1 1e309 0.5 0.2 0.2\n"),
    "zero_box": _labels("1 0.5 0.5 0 0\n"),
    "few": _labels("1 0.5 0.5\n"),
    "ragged": _labels("1 0.5 0.5 0.2 0.2\n1 0.5\n"),
    "many": _labels("1 0.5 0.5 0.2 0.2 0.1 0.1\n"),
    "text": _labels("hello world\n"),
    "binary": _labels(bytes(range(256))),
    "binary_one": _one_label(bytes(range(256))),
    "latin": _one_label("1 0.5 0.5 0.2 0.2 caf\u00e9\n".encode("latin-1")),
    "blank": _labels(""),
    "blank_train": _labels("", "train"),
    "blank_val": _labels("", "val"),
    "commas": _labels("1,0.5,0.5,0.2,0.2\n"),
    "label_folders": _folders("labels"),
    "no_labels": lambda root: shutil.rmtree(root / "labels"),
    "img_empty": _images(lambda _: b""),
    "img_empty_one": _images(lambda _: b"", 1),
    "img_cut": _images(lambda raw: raw[: len(raw) // 2]),
    "img_cut_one": _images(lambda raw: raw[: len(raw) // 2], 1),
    "img_text": _images(lambda _: b"hello"),
    "img_small": _images(lambda _: _small()),
    "img_vast": _images(lambda _: _vast()),
    "img_tail": _images(lambda raw: raw[:-20]),
    "img_tail_one": _images(lambda raw: raw[:-20], 1),
    "img_random": _images(lambda raw: raw[:40] + os.urandom(len(raw) - 40)),
    "img_folders": _folders("images"),
    "img_latin": _named("caf\u00e9.png".encode("latin-1")),
    "img_latin_train": _named("caf\u00e9.png".encode("latin-1"), "train"),
    "img_newline": _named(b"a\nb.png"),
    "img_loops": _loops,
    "img_none": lambda root: [
        shutil.rmtree(root / "images" / s) or (root / "images" / s).mkdir() for s in ("train", "val")
    ],
}

# --- plans, reports, tables, settings ---------------------------------------------------------------------------------


def make_texts(folder: Path) -> None:
    """Plans, sensitivity tables and run records that are no such thing; `p_*.yaml`, `t_*.json`, `r_*/report.json`."""
    for name, text in {**PLANS, **TREES}.items():
        (folder / f"p_{name}.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    for name, text in {**TABLES, **JSONS}.items():
        (folder / f"t_{name}.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    for name, text in {**REPORTS, **JSONS}.items():
        (folder / f"r_{name}").mkdir()
        (folder / f"r_{name}" / "report.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    real_tables(TABLE, folder)
    (folder / "p_folder.yaml").mkdir()
    (folder / "t_folder.json").mkdir()
    (folder / "a_file").write_text("a file")
    (folder / "r_link").mkdir()
    os.symlink("report.json", folder / "r_link" / "report.json")
    for name, text in CFGS.items():
        (folder / f"c_{name}.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())


def _plan(**changed: Any) -> str:
    entry = {"name": "model.0.conv", "channels": 16, "keep": 8, "layers": ["model.0.conv"]}
    cost = {"macs": 1.0, "params": 1}
    plan = {
        "version": 1,
        "criterion": "lamp",
        "scope": "local",
        "seed": 0,
        "example": [1, 3, 64, 64],
        "dense": cost,
        "pruned": cost,
        "notes": [],
        "groups": [entry],
        "frozen": {},
    }
    for key, value in changed.items():
        if key in plan:
            plan[key] = value
        else:
            entry[key] = value
    return yaml.safe_dump(plan)


NAN = float("nan")
PLANS: dict[str, str | bytes] = {
    "keep_nan": _plan(keep=NAN),
    "keep_text": _plan(keep="8"),
    "keep_float": _plan(keep=8.0),
    "keep_none": _plan(keep=None),
    "keep_list": _plan(keep=[8]),
    "keep_minus": _plan(keep=-1),
    "keep_true": _plan(keep=True),
    "keep_inf": _plan(keep=float("inf")),
    "keep_huge": _plan(keep=10**30),
    "channels_text": _plan(channels="16"),
    "channels_nan": _plan(channels=NAN),
    "name_list": _plan(name=["a"]),
    "name_map": _plan(name={"a": 1}),
    "name_none": _plan(name=None),
    "layers_text": _plan(layers="model.0.conv"),
    "layers_number": _plan(layers=5),
    "layers_map": _plan(layers={"a": 1}),
    "tie_list": _plan(tie=["a"]),
    "tie_map": _plan(tie={"a": 1}),
    "groups_map": _plan(groups={"a": 1}),
    "groups_text": _plan(groups="text"),
    "groups_none": _plan(groups=None),
    "groups_numbers": _plan(groups=[1, 2]),
    "seed_text": _plan(seed="text"),
    "seed_none": _plan(seed=None),
    "seed_minus": _plan(seed=-5),
    "seed_huge": _plan(seed=10**40),
    "seed_inf": _plan(seed=float("inf")),
    "example_text": _plan(example="text"),
    "example_none": _plan(example=None),
    "example_inf": _plan(example=[float("inf")]),
    "dense_none": _plan(dense=None),
    "dense_list": _plan(dense=[1]),
    "dense_nan": _plan(dense={"macs": NAN, "params": NAN}),
    "notes_number": _plan(notes=5),
    "frozen_list": _plan(frozen=[1]),
    "scope_list": _plan(scope=["local"]),
    "scope_map": _plan(scope={}),
    "criterion_list": _plan(criterion=["lamp"]),
    "criterion_none": _plan(criterion=None),
    "version_text": _plan(version="1"),
    "version_list": _plan(version=[1]),
    "version_nan": _plan(version=NAN),
    "other": _plan(name="model.99.conv"),
    "twice": _plan() + _plan(),
    "documents": "a: 1\n---\nb: 2\n",
}
TREES: dict[str, str | bytes] = {
    "list": "- a\n",
    "text": "hello",
    "empty": "",
    "number": "5",
    "broken": "a: [b\n c: }",
    "binary": bytes(range(256)),
    "latin": "a: caf\u00e9".encode("latin-1"),
    "deep": "[" * DEEP,
    "deepmap": "{a: " * DEEP,
    "intkeys": "1: 2\n",
    "tag": "!!python/object/apply:os.system ['touch owned']",
    "loop": "&a [*a]\n",
    "loopmap": "&a {version: *a, groups: *a}",
    "listkey": "? [a]\n: b\n",
    "date": "version: 2020-99-99\n",
    "int": "version: 1" + "0" * 6000 + "\n",
    "merge": "<<: 5\nversion: 1\n",
    "bomb": f"{BOMB}\nversion: *x8\ngroups: *x8\n",
}
JSONS: dict[str, str | bytes] = {
    "list": "[1]",
    "text": '"hello"',
    "empty": "",
    "number": "5",
    "null": "null",
    "broken": '{"a": [',
    "binary": bytes(range(256)),
    "deep": "[" * DEEP + "]" * DEEP,
    "deepmap": '{"a":' * DEEP + "1" + "}" * DEEP,
    "nan": "NaN",
    "digits": '{"schema": ' + "1" * 6000 + "}",
    "surrogate": '{"schema": "\\ud800"}',
}


def _table(units: Any, **more: Any) -> str:
    return json.dumps({"schema": 1, "dense": 0.5, "units": units, **more})


TABLES: dict[str, str | bytes] = {
    "units_list": _table([1]),
    "units_text": _table("text"),
    "units_number": _table(5),
    "row_list": _table({"a": [1]}),
    "row_none": _table({"a": None}),
    "dense_text": _table({"a": {"map50_95": {"0.5": 0.1}}}, dense="half"),
    "no_dense": json.dumps({"schema": 1, "units": {"a": {}}}),
    "schema_list": _table({"a": {}}, schema=[1]),
    "other": _table({"model.99": {"channels": 8, "names": ["model.99"], "map50_95": {"0.5": 0.1}}}),
}


TABLE = {
    "schema": 1,
    "dense": 0.5,
    "units": {"model.0.conv": {"channels": 16, "names": ["model.0.conv"], "map50_95": {"0.5": 0.1}}},
}


def real_tables(record: dict[str, Any], folder: Path) -> None:
    """Tables of the very network at hand, with values that no measurement gives: `t_real_*.json`."""
    first = next(iter(record["units"]))
    for name, value in {
        "nan": NAN,
        "text": "0.1",
        "none": None,
        "list": [1],
        "inf": float("inf"),
        "minus": -5.0,
        "huge": 10**400,
    }.items():
        changed = deepcopy(record)
        changed["units"][first]["map50_95"] = {"0.5": value}
        (folder / f"t_real_{name}.json").write_text(json.dumps(changed))
    for name, key in {"key_text": "half", "key_nan": "nan", "key_minus": "-1", "key_inf": "inf"}.items():
        changed = deepcopy(record)
        changed["units"][first]["map50_95"] = {key: 0.1}
        (folder / f"t_real_{name}.json").write_text(json.dumps(changed))
    for name, value in {"map_list": [0.1], "map_text": "text", "map_number": 5}.items():
        changed = deepcopy(record)
        changed["units"][first]["map50_95"] = value
        (folder / f"t_real_{name}.json").write_text(json.dumps(changed))


def _report(**changed: Any) -> str:
    record = {
        "schema": 1,
        "family": "ultralytics",
        "weights": "best.pt",
        "arguments": {},
        "image": 64,
        "status": "running",
        "dense": {},
        "digest": "",
        "plan": None,
        "skipped": 0,
        "sparse": None,
        "steps": [],
        "final": {},
        "settings": {},
    }
    return json.dumps({**record, **changed})


REPORTS: dict[str, str | bytes] = {
    "steps_map": _report(steps={"a": 1}),
    "steps_text": _report(steps="text"),
    "steps_numbers": _report(steps=[1]),
    "steps_empty": _report(steps=[{}]),
    "weights_number": _report(weights=5),
    "weights_list": _report(weights=["best.pt"]),
    "weights_none": _report(weights=None),
    "settings_list": _report(settings=[1]),
    "settings_text": _report(settings="text"),
    "settings_none": _report(settings=None),
    "settings_types": _report(settings={"steps": "two", "prune_ratio": "half"}),
    "settings_nan": _report(settings={"prune_ratio": NAN}),
    "settings_ratio": _report(settings={"prune_ratio": 7}),
    "settings_ignore": _report(settings={"ignore": 5}),
    "settings_scope": _report(settings={"scope": "round"}),
    "settings_importance": _report(settings={"importance": "magic"}),
    "settings_sense": _report(settings={"sensitivity": 5}),
    "arguments_list": _report(arguments=[1]),
    "arguments_none": _report(arguments=None),
    "arguments_types": _report(arguments={"imgsz": "huge", "data": 5, "epochs": "many", "batch": None}),
    "arguments_empty": _report(arguments={}),
    "dense_list": _report(dense=[1]),
    "dense_text": _report(dense={"macs": "many"}),
    "final_text": _report(final="text"),
    "final_list": _report(final=[1]),
    "status": _report(status=5),
    "plan_number": _report(plan=5),
    "plan_gone": _report(plan="gone.yaml"),
    "plan_up": _report(plan="../../etc/passwd"),
    "sparse_number": _report(sparse=5),
    "sparse_gone": _report(sparse="gone.pt", dense={"macs": 1}),
    "skipped": _report(skipped="two"),
    "digest": _report(digest=5),
    "image": _report(image="big"),
    "family": _report(family="yolov99"),
    "schema_text": _report(schema="1"),
    "schema_new": _report(schema=99),
    "more": _report(surprise=1),
    "steps_gone": _report(steps=[{"checkpoint": "gone.pt", "kept": True}], dense={"macs": 1.0}),
}
CFGS: dict[str, str | bytes] = {
    "intkeys": "1: 2\n3: 4\n",
    "list": "- epochs\n",
    "lists": "epochs: [1, 2]\n",
    "map": "epochs: {a: 1}\n",
    "text": "hello",
    "number": "5",
    "null": "null",
    "binary": bytes(range(256)),
    "latin": "name: caf\u00e9\n".encode("latin-1"),
    "deep": "[" * DEEP,
    "broken": "epochs: [1\n lr0: }",
    "boolkeys": "true: 1\n",
    "nullkeys": "null: 1\n",
    "listkey": "? [a]\n: b\n",
    "nan": "lr0: .nan\n",
    "inf": "lr0: .inf\n",
    "words": "lr0: much\n",
    "loop": "&a [*a]\n",
    "tag": "!!python/object/apply:os.system ['touch owned']",
    "model": "model: 5\n",
    "project": "project: [a]\n",
    "epochs": "epochs: many\n",
    "cfg": "cfg: other.yaml\n",
    "date": "epochs: 2020-01-01\n",
    "data": "data: 5\n",
    "bomb": f"{BOMB}\nepochs: *x8\n",
}


def make_hyps(usual: dict[str, Any], folder: Path) -> None:
    """Hyperparameters of YOLOv5 and YOLOv7: `h_*.yaml`."""
    changes: dict[str, Any] = {
        "lr0_nan": ("lr0", NAN),
        "lr0_inf": ("lr0", float("inf")),
        "lr0_text": ("lr0", "much"),
        "lr0_list": ("lr0", [1]),
        "lr0_none": ("lr0", None),
        "lr0_minus": ("lr0", -1.0),
        "box_text": ("box", "7"),
        "mosaic": ("mosaic", "yes"),
        "anchor_t": ("anchor_t", 0),
        "momentum": ("momentum", 5.0),
        "warmup": ("warmup_epochs", "three"),
        "obj_map": ("obj", {"a": 1}),
        "scale_nan": ("scale", NAN),
        "iou_t": ("iou_t", "x"),
        "degrees": ("degrees", NAN),
        "exp": ("lr0", "1e-3"),
        "decay_inf": ("weight_decay", float("inf")),
        "hsv": ("hsv_h", NAN),
        "perspective": ("perspective", float("inf")),
        "fliplr": ("fliplr", "often"),
        "mixup": ("mixup", NAN),
        "lrf": ("lrf", float("inf")),
    }
    for name, (key, value) in changes.items():
        (folder / f"h_{name}.yaml").write_text(yaml.safe_dump({**usual, key: value}, sort_keys=False))
    (folder / "h_anchors.yaml").write_text(yaml.safe_dump({**usual, "anchors": "many"}, sort_keys=False))
    (folder / "h_bomb.yaml").write_text(f"{BOMB}\nlr0: *x8\n")
    (folder / "h_anchors_minus.yaml").write_text(yaml.safe_dump({**usual, "anchors": -3}, sort_keys=False))
