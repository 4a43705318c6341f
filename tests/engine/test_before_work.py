# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is refused before any work: data sets, frozen layers and files that training did not write."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from engine_helpers import modules
from torch import nn


@pytest.fixture(scope="module")
def parts(engine: object) -> SimpleNamespace:
    """The modules, imported as the engine is on its own."""
    return modules("family.data_check", "family.ranges", "checkpoint.network_form", "checkpoint.reading", "files")


def _fails() -> Any:
    raise AssertionError("train: No labels found")


def _none_left() -> Any:
    cached: tuple[Any, ...] = ()  # as YOLOv5 and YOLOv7 read their cache of nothing
    labels, shapes, segments = cached
    return labels, shapes, segments


def test_a_list_without_images_is_no_split(parts: SimpleNamespace, tmp_path: Path) -> None:
    listed = tmp_path / "val.txt"
    listed.write_bytes(b"\xff\xfe no image\nnotes.txt\n")
    with pytest.raises(Exception, match=r"--data d\.yaml: val: no images in .*val\.txt"):
        parts.data_check.check_places("d.yaml", "val", str(listed), ("png",))
    listed.write_text("notes.txt\n./images/a.PNG\n")
    parts.data_check.check_places("d.yaml", "val", str(listed), ("png",))


BOMB = "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9))])
YAMLS = {"bomb": BOMB, "in itself": "a: &a [1, *a]", "in itself, deep": "&a {b: {c: [*a]}}"}


@pytest.mark.parametrize("text", YAMLS.values(), ids=list(YAMLS))
def test_anchors_that_fill_the_memory(parts: SimpleNamespace, tmp_path: Path, text: str) -> None:
    """Nobody prints such a value and lives: upstreams put what they read into their messages."""
    file = tmp_path / "d.yaml"
    file.write_text(text)
    with pytest.raises(Exception, match=r"--data .*d\.yaml: its anchors"):
        parts.files.check_yaml("--data", file)
    for fine in ("a: &a {x: 1}\nb: *a\nc: [*a, *a]\n", "a: [b", "[" * 9999 + "&*", "a: *nothing & more"):
        file.write_text(fine)
        parts.files.check_yaml("--data", file)
    parts.files.check_yaml("--data", tmp_path)
    parts.files.check_yaml("--data", tmp_path / "nowhere.yaml")


def test_a_pipe_is_no_file(parts: SimpleNamespace, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "d.yaml")
    with pytest.raises(Exception, match="neither a file nor a folder"):
        parts.files.check_yaml("--data", tmp_path / "d.yaml")


def test_names_that_are_none(parts: SimpleNamespace) -> None:
    parts.data_check.check_names({0: "a", 1: 5}, "d.yaml")
    with pytest.raises(Exception, match=r"d\.yaml: names: \['b'\] is no name of a class"):
        parts.data_check.check_names(["a", ["b"]], "d.yaml")


def test_labels_of_other_classes(parts: SimpleNamespace) -> None:
    files = ["a.png"]

    def split(*classes: float) -> Any:
        boxes = torch.tensor([[c, 0.5, 0.5, 0.1, 0.1] for c in classes])
        return lambda: SimpleNamespace(labels=[torch.zeros(0, 5), *([boxes] if classes else [])], im_files=files)

    parts.data_check.check_split(split(0, 9), "val", 10, "d.yaml")
    with pytest.raises(Exception, match="a label has class 99, but 'nc: 10' has 0 to 9"):
        parts.data_check.check_split(split(1, 99), "val", 10, "d.yaml")
    with pytest.raises(Exception, match=r"--data d\.yaml: val: cannot be read \(train: No labels found\)"):
        parts.data_check.check_split(_fails, "val", 10, "d.yaml")
    with pytest.raises(Exception, match="every image, or its label, is damaged"):
        parts.data_check.check_split(_none_left, "val", 10, "d.yaml")
    with pytest.raises(Exception, match=r"--data d\.yaml: val: no image has a label"):
        parts.data_check.check_split(split(), "val", 10, "d.yaml")
    files.append("caf\udce9.png")
    with pytest.raises(Exception, match="the name of this image is not UTF-8"):
        parts.data_check.check_split(split(0), "val", 10, "d.yaml")


def test_training_images_that_cannot_be_read(parts: SimpleNamespace) -> None:
    parts.data_check.check_readable(iter([torch.zeros(1)]), "d.yaml")
    with pytest.raises(Exception, match=r"--data d\.yaml: train: cannot be read \(train: No labels found\)"):
        parts.data_check.check_readable((_fails() for _ in range(1)), "d.yaml")


@pytest.mark.parametrize("words", [[999], [0, 99], [-1], list(range(6))])
def test_layers_that_cannot_be_frozen(parts: SimpleNamespace, words: list[int]) -> None:
    with pytest.raises(Exception, match="--freeze"):
        parts.ranges.check_freezing(words, 6)
    for fine in (None, [0], [5], [0, 5]):
        parts.ranges.check_freezing(fine, 6)


def test_a_record_without_upstreams_options(parts: SimpleNamespace) -> None:
    parts.ranges.require_arguments({"epochs": 1, "data": "d.yaml"}, {"epochs"})
    with pytest.raises(Exception, match=r"has no data, epochs among its arguments\. Begin a new run"):
        parts.ranges.require_arguments({"batch": 1}, {"epochs", "data"})


HELD = [
    (nn.Linear(2, 2), "holds a Linear, not what training writes"),
    (None, "holds nothing, not what"),
    ({"epoch": 1}, "holds nothing where a network is"),
    ({"model": "text"}, "holds a str where"),
    ({"model": nn.Linear(2, 2).state_dict()}, "holds an OrderedDict where"),
    (torch.zeros(3, 9), "holds a Tensor, not"),
]


@pytest.mark.parametrize(("content", "said"), HELD, ids=[row[1] for row in HELD])
def test_a_file_that_training_did_not_write(parts: SimpleNamespace, content: Any, said: str) -> None:
    with pytest.raises(Exception, match=f"x.pt: {said}"):
        parts.network_form.check_content(content, Path("x.pt"))
    parts.network_form.check_content({"model": nn.Linear(2, 2), "ema": None}, Path("x.pt"))


def test_bytes_that_are_no_instruction_are_damage(parts: SimpleNamespace, tmp_path: Path) -> None:
    """Not a file that would run something: --trust would not help."""
    file = tmp_path / "x.pt"
    torch.save({"model": [float(n) for n in range(200)]}, file)
    raw = file.read_bytes()
    at = raw.index(b"\x80\x02") + 20
    file.write_bytes(raw[:at] + bytes(100) + raw[at + 100 :])
    with pytest.raises(Exception, match=r"x\.pt: damaged checkpoint") as caught:
        parts.reading.read(file, map_location="cpu")
    assert "--trust" not in str(caught.value)
