# SPDX-License-Identifier: AGPL-3.0-or-later
"""The one door through which checkpoints are loaded: nothing in a file is executed, unless the user trusts it.

A YOLO checkpoint pickles whole modules, so loading one can run anything. Here every load goes to torch's restricted
unpickler (`weights_only=True`) with the list of `allowed`: what it refuses is refused, and named. Within `door()` that
holds for every `torch.load` of the process, upstream's own ones included, whichever file they find.
"""

from __future__ import annotations

import atexit
import io
import os
import pickletools
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch

from ..errors import PruneError
from .allowed import FusedError, Rules, entries_for
from .archive import Damaged, require_plain
from .label_cache import restricted_arrays

TARGETS = {
    "a YOLOv5": "v5",
    "a YOLOv7": "v7",
    "a YOLOv5 or YOLOv7": "v5 (or v7)",
    "an ultralytics (YOLOv8 or later)": "v8",
}
KINDS = {"models.": "a YOLOv5 or YOLOv7", "ultralytics.": "an ultralytics (YOLOv8 or later)"}
# YOLOv5 and YOLOv7 share their modules' names: classes that one of them has, and what it is then.
MARKS = {
    "a YOLOv7": (
        "yolo.IDetect",
        "yolo.IAuxDetect",
        "yolo.IKeypoint",
        "yolo.IBin",
        "common.ImplicitA",
        "common.SPPCSPC",
        "common.RepConv",
        "common.MP",
        "common.SP",
        "common.ReOrg",
    ),
    "a YOLOv5": (
        "yolo.DetectionModel",
        "yolo.SegmentationModel",
        "yolo.ClassificationModel",
        "yolo.Segment",
        "common.C3",
        "common.SPPF",
        "common.BottleneckCSP",
        "common.Proto",
    ),
}
INHERITED = "PRUNEKIT_DOOR"  # "closed" or "trusted": processes that a script starts behave as it does
_door: dict[str, Any] = {"rules": Rules(), "trust": False, "original": None, "said": set()}
_reading = threading.local()


def know(rules: Rules) -> None:
    """Say what this fork's checkpoints are made of; its adapter does, before it loads any."""
    _door["rules"] = rules


def known() -> Rules:
    """What this fork's checkpoints are made of."""
    return _door["rules"]


def trusted() -> bool:
    """Is the open door one of --trust?"""
    return bool(_door["trust"])


def trust_them() -> None:
    """--trust: load what would be refused, and say what it runs. Holds within the `door()` that is open."""
    if _door["original"] is not None:
        _door["trust"] = True
        os.environ[INHERITED] = "trusted"


@contextmanager
def door(*, trust: bool = False) -> Iterator[None]:
    """Within it, every `torch.load` of this process reads as `read` does; a door within a door is the same one."""
    if _door["original"] is not None:
        if trust:
            trust_them()
        yield
        return
    before = os.environ.get(INHERITED)
    _shut(trust)
    try:
        with restricted_arrays(lambda: _door["trust"]):
            yield
    finally:
        torch.load = _original()
        _door["original"], _door["trust"] = None, False
        os.environ.pop(INHERITED, None)
        if before is not None:
            os.environ[INHERITED] = before


def stay(*, trust: bool = False) -> None:
    """A `door()` that stays to the end of the process, for a script that is not ours to wrap."""
    kept = door(trust=trust)
    kept.__enter__()
    # Kept until then (a generator that is thrown away would open the door), and ended while this module still exists.
    atexit.register(kept.__exit__, None, None, None)


def inherit(rules: Callable[[], Rules]) -> None:
    """In a process that a script of the fork has started (a DDP rank): the door as it was there, under these rules."""
    if _door["original"] is None and (state := os.environ.get(INHERITED)):
        know(rules())
        stay(trust=state == "trusted")


def check_checkpoint(path: Path, package: tuple[str, ...] = (), *, trust: bool = False) -> None:
    """Refuse a checkpoint that is missing, damaged, or that would run code of its own.

    Args:
        path: the `.pt` file.
        package: modules that the network's classes may come from, in the place of the family's rules.
        trust: load it all the same; what will run is printed.

    Raises:
        PruneError: naming the file, what is wrong with it, and what to do.
    """
    read(path, rules=Rules(packages=package) if package else None, trust=trust, map_location="cpu")


def read(path: str | Path, *, rules: Rules | None = None, trust: bool | None = None, **how: Any) -> Any:
    """The content of a checkpoint, by torch's restricted unpickler.

    Args:
        path: the file.
        rules: what it may be made of (default: what the family said).
        trust: load what is refused with the unrestricted one (default: as the open door has it).
        how: passed to `torch.load`.

    Raises:
        PruneError: naming the file, what is wrong with it, and what to do.
    """
    if not Path(path).is_file():
        raise PruneError(f"{path}: no such file. Give a trained checkpoint with --weights.")
    with open(path, "rb") as file:
        return _read_open(path, file, rules or _door["rules"], _door["trust"] if trust is None else trust, how)


def _read_open(path: str | Path, file: IO[bytes], rules: Rules, trust: bool, how: dict[str, Any]) -> Any:
    """See `read`. Looked at and loaded through one handle: no other file can take its place."""
    require_plain(path, file)
    try:
        return _restricted(path, file, rules, how)
    except _Refused as refused:
        if not trust:
            raise PruneError(str(refused)) from None
        _say_once(str(path), refused.runs)
    file.seek(0)
    with _read_by_us():
        return _original()(file, weights_only=False, **how)


class _Refused(Exception):
    """A file that would run something; `runs` names it."""

    def __init__(self, message: str, runs: str) -> None:
        super().__init__(message)
        self.runs = runs


def _restricted(path: str | Path, file: IO[bytes], rules: Rules, how: dict[str, Any]) -> Any:
    """Load under the list; `_Refused` for what is not on it, PruneError for what is damaged."""
    entries: list[Any] = []
    try:
        names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(file))
    except Exception as error:
        raise _hard_to_read(path, file, error, rules) from error
    found = {name: entries_for(name, rules) for name in names}
    if foreign := [name for name, made in found.items() if made is None]:
        raise _refusal(path, foreign, rules)
    for made in found.values():
        entries += made or []
    file.seek(0)
    try:
        with torch.serialization.safe_globals(entries), _read_by_us():
            return _original()(file, weights_only=True, **how)
    except FusedError:
        raise _refusal(path, ["builtins.getattr"], rules) from None
    except PruneError as error:
        raise _refusal(path, [str(error)], rules) from None
    except Exception as error:
        raise _hard_to_read(path, file, error, rules) from error


def _elsewhere(path: str | Path, kind: str, listed: str) -> _Refused:
    """What is said of another upstream's checkpoint."""
    told = f"{path}: this is {kind} checkpoint. Prune it in a fork of that upstream: prunekit setup {TARGETS[kind]}"
    return _Refused(told, listed)


def _refusal(path: str | Path, foreign: list[str], rules: Rules) -> _Refused:
    """What is said of names that are not on the list."""
    own = tuple(f"{package.partition('.')[0]}." for package in rules.packages)
    listed = ", ".join(sorted(foreign)[:8])
    for kind, marks in MARKS.items():
        if "models." in own and any(f"models.{mark}" in foreign for mark in marks):
            return _elsewhere(path, kind, listed)
    for prefix, kind in KINDS.items():
        if prefix not in own and own and any(name.startswith(prefix) for name in foreign):
            return _elsewhere(path, kind, listed)
    if foreign == ["builtins.getattr"]:  # a bound method: what upstream's fuse() leaves in its modules
        return _Refused(
            f"{path}: a fused network, by the methods pickled in it; it cannot be trained again. Give the checkpoint "
            "that training wrote (weights/best.pt), or add --trust.",
            listed,
        )
    whose = f"torch's nor {own[0].rstrip('.')}'s" if own else "torch's nor this fork's"
    return _Refused(
        f"{path}: loading this file would run {listed}, which is neither {whose} network code. "
        "If you trust whoever made it, add --trust.",
        listed,
    )


def _hard_to_read(path: str | Path, file: IO[bytes], error: Exception, rules: Rules) -> Exception:
    """For what torch's reader stops at: an instruction that it does not run (`_Refused`), or damage (PruneError)."""
    said = " ".join(str(error).rpartition("WeightsUnpickler error:")[2].partition("Check the doc")[0].split())[:200]
    if _no_instruction(said):
        return Damaged(f"{path}: damaged checkpoint ({said}). Copy it again, or use another one.", said)
    if "torchscript" in str(error).lower():
        return _Refused(f"{path}: a TorchScript file, which is code. Give the checkpoint that training wrote.", "it")
    asks = any(word in said for word in ("Unsupported", "Trying to", "Can only", "blocked", "persistent"))
    if names := _named_in(file) if asks else []:
        return _refusal(path, names, rules)
    if asks:
        return _Refused(
            f"{path}: loading this file would run pickle instructions that no ordinary checkpoint has ({said}). "
            "If you trust whoever made it, add --trust.",
            said,
        )
    return Damaged(f"{path}: damaged checkpoint ({said}). Copy it again, or use another one.", said)


def _no_instruction(said: str) -> bool:
    """Does torch's reader name a byte that is no pickle instruction at all?"""
    number = said.removeprefix("Unsupported operand ").split(" ")[0]
    known = {ord(op.code) for op in pickletools.opcodes}
    return said.startswith("Unsupported operand") and number.isdigit() and int(number) not in known


def _named_in(file: IO[bytes]) -> list[str]:
    """Names in a pickle that torch's reader does not get to the end of; for the message only."""
    names, strings = set(), [""]
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            data = next(archive.read(name) for name in archive.namelist() if name.endswith("/data.pkl"))
        for op, value, _ in pickletools.genops(data):
            if op.name in ("GLOBAL", "INST"):
                names.add(str(value).replace(" ", "."))
            elif op.name == "STACK_GLOBAL":
                names.add(".".join(strings[-2:]))
            elif isinstance(value, str):
                strings.append(value)
    except Exception:  # noqa: BLE001 - a pickle made to confuse readers confuses this one, too: nothing hangs on it
        pass
    plain = {name for name in names if name.isprintable() and len(name) < 200}
    return sorted(name for name in plain if not name.startswith(("torch.", "collections.")))


def _shut(trust: bool) -> None:
    """Put `read` in the place of `torch.load`."""
    _door.update(original=torch.load, trust=trust, said=set())
    os.environ[INHERITED] = "trusted" if trust else "closed"

    def load(f: Any, map_location: Any = None, pickle_module: Any = None, **how: Any) -> Any:
        original: Callable[..., Any] = _door["original"] or torch.load
        ours = getattr(_reading, "ours", False) or how.get("weights_only") is True
        kept = {key: value for key, value in how.items() if key not in ("weights_only", "mmap")}
        if not ours and isinstance(f, io.BufferedReader):  # a file that upstream has opened
            f.seek(0)
            return _read_open(str(f.name), f, _door["rules"], _door["trust"], {"map_location": map_location, **kept})
        if ours or not isinstance(f, (str, os.PathLike)):
            by = {"pickle_module": pickle_module} if pickle_module is not None and ours else {}
            strict = {} if ours or _door["trust"] else {"weights_only": True}
            return original(f, map_location, **{**how, **by, **strict})
        return read(os.fspath(f), map_location=map_location, **kept)

    torch.load = load


def _original() -> Callable[..., Any]:
    return _door["original"] or torch.load


@contextmanager
def _read_by_us() -> Iterator[None]:
    """While the reader itself calls `torch.load`."""
    _reading.ours = True
    try:
        yield
    finally:
        _reading.ours = False


def _say_once(path: str, runs: str) -> None:
    """The warning of --trust, once for each file."""
    if path not in _door["said"]:
        _door["said"].add(path)
        print(f"warning: loading {path} runs {runs} (--trust)", file=sys.stdout)
