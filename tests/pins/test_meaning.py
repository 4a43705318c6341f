# SPDX-License-Identifier: AGPL-3.0-or-later
# ruff: noqa: E501  a case is a row
"""A hook whose lines fit and that would mean something else: rebound arguments, ways past it, other surroundings."""

from __future__ import annotations

import pytest
from prunekit.porting.anchors import Refused
from prunekit.porting.file import move_file
from prunekit.porting.python_file import transplant

FILE = """import torch
from kit import hooks


class Trainer:
    def build(self, cfg):
        d = load(cfg)
        self.model = make(d)
        d.update(x=1)
        use(d)
        return d

    def step(self):
        self.unscale()
        clip(self.model)
        self.optimizer.step()
        self.zero()

    def each(self, items):
        for item in items:
            a = first(item)
            second(a)
            third(item)
        return items

    def guarded(self):
        if self.off:
            return
        with torch.enable_grad():
            self.loss()
            self.backward()
"""
HOOKS = {
    "return": ("        return d\n", "        hooks.keep(d)\n"),
    "middle": ("        d.update(x=1)\n", "        hooks.look(d, self.model)\n"),
    "step": ("        self.optimizer.step()\n", "        hooks.penalty(self.model)\n"),
    "end": ("\n    def each", "        hooks.last(self.model)\n"),
    "loop": ("            third(item)\n", "            hooks.see(a, item)\n"),
    "with": ("            self.backward()\n", "            hooks.grad(self)\n"),
}
REBINDS = """\
d = None|del d|d = wrap(d)|d += 1|with x as d: pass|for d in y: pass|if (d := other()): pass|import z as d|d, e = pair()
[e, *d] = pair()|def d(): pass|class d: pass|from q import d|d: int = 3|if q: d = other()|while q: d = new()
print(d := 3)|hooks = None|from q import hooks|(d) = (e) = 1|for i in q: d = i|with q: d = 1|async def d(): pass"""
ATTRIBUTES = """\
self.model = None|self.model = wrap(self.model)|del self.model|self = other|self.model, b = pair()|if q: self.model = 2
with q as self.model: pass|for self.model in q: pass|self.model += 1|(self.model, *c) = q"""
EXITS = "if q: return|for i in q: return|while q: return 1|with q: return 3|if q: pass\nelse: return"
PASSES = "continue|break|if q: continue|if q: break|if q: return"
BODY = "        self.unscale()\n        clip(self.model)\n        self.optimizer.step()\n        self.zero()\n"
INNER = "".join(f"    {line}" for line in BODY.splitlines(keepends=True))
LOOP = "            a = first(item)\n            second(a)\n            third(item)\n"
BUILD = "        d = load(cfg)\n        self.model = make(d)\n"


def hooked(name: str) -> str:
    """The file at the pin with one hook in it."""
    before, line = HOOKS[name]
    return FILE.replace(before, line + before)


def changed(name: str, statement: str) -> str:
    """The file with a statement in front of the hook's place."""
    before, hook = HOOKS[name]
    pad = hook[: len(hook) - len(hook.lstrip())]
    return FILE.replace(before, "".join(f"{pad}{line}\n" for line in statement.split("\n")) + before)


IN_FRONT = [("return", it) for it in REBINDS.replace("\n", "|").split("|")]
IN_FRONT += [(name, it) for it in ATTRIBUTES.replace("\n", "|").split("|") for name in ("middle", "step", "end")]
IN_FRONT += [(name, it) for it in EXITS.split("|") for name in ("return", "middle", "step", "end")]
IN_FRONT += [("loop", it) for it in [*PASSES.split("|"), "a = None", "item = wrap(item)", "del a"]]
STEP = FILE[FILE.index("    def step") : FILE.index("\n    def each")]
DEEPER = "".join(f"    {x}" for x in STEP.splitlines(True))
CLASS = FILE[FILE.index("class Trainer") :]
HEADS = ("for i in range(2):", "while q:", "if q:", "with torch.no_grad():", "async def inner():", "def inner():")
AROUND = {head: ("step", BODY, f"        {head}\n{INNER}") for head in HEADS}
AROUND |= {
    "try": ("step", BODY, f"        try:\n{INNER}        except E:\n            pass\n"),
    "finally": ("step", BODY, f"        try:\n            go()\n        finally:\n{INNER}"),
    "else": ("step", BODY, f"        if q:\n            self.other()\n        else:\n{INNER}"),
    "decorated": ("step", "    def step", "    @torch.no_grad()\n    def step"),
    "generator": ("step", BODY, f"{BODY}        yield 1\n"),
    "async": ("step", "    def step", "    async def step"),
    "deeper loop": ("loop", LOOP, "            for k in item:\n" + "".join(f"    {x}" for x in LOOP.splitlines(True))),
    "no loop": ("loop", f"        for item in items:\n{LOOP}", "        item = items[0]\n" + LOOP.replace("    " * 3, "    " * 2)),
    "no with": ("with", "        with torch.enable_grad():\n            self.loss()\n            self.backward()\n",
                "        self.loss()\n        self.backward()\n"),
    "no guard": ("with", "        if self.off:\n            return\n", ""),
    "next pass": ("loop", "            third(item)\n", "            third(item)\n            hooks = None\n"),
    "bound later": ("middle", BUILD + "        d.update(x=1)\n", "        d = cfg\n        self.model = 1\n" + "        d.update(x=1)\n" + BUILD),
    "def under if": ("step", STEP, f"    if q:\n{DEEPER}"),
    "def or another": ("step", STEP, f"    if q:\n        from fast import step\n    else:\n{DEEPER}"),
    "def under try": ("step", STEP, f"    try:\n{DEEPER}    except E:\n        step = None\n"),
    "def in a loop": ("step", STEP, f"    for i in q:\n{DEEPER}"),
    "class under if": ("step", CLASS, "if q:\n" + "".join(f"    {x}" if x.strip() else x for x in CLASS.splitlines(True))),
    "name taken": ("step", STEP, f"{STEP}\n    step = once(step)\n"),
    "name taken from outside": ("step", CLASS, f"{CLASS}\n\nTrainer.step = once(Trainer.step)\n"),
    "class's name taken": ("step", CLASS, f"{CLASS}\n\nTrainer = wrap(Trainer)\n"),
    "class decorated": ("step", "class Trainer", "@wrap\nclass Trainer"),
    "defined again": ("step", STEP, f"{STEP}\n    def step(self):\n        pass\n"),
    "module": ("step", "from kit import hooks\n", "from kit import hooks\n\nhooks = None\n"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "statement"), IN_FRONT)
def test_nothing_comes_between(name: str, statement: str) -> None:
    """A statement in front of the hook that rebinds what it passes, or that leads past it."""
    target = changed(name, statement)
    assert target != FILE
    with pytest.raises(Refused):
        transplant(FILE, hooked(name), target)
    with pytest.raises(Refused):
        move_file("a.py", FILE, hooked(name), target)


@pytest.mark.parametrize("kind", AROUND)
def test_nothing_else_stands_around(kind: str) -> None:
    """Loops, conditions and the like put around the hook's place or taken away; another kind of function."""
    name, old, new = AROUND[kind]
    assert FILE.count(old) == 1
    with pytest.raises(Refused):
        move_file("a.py", FILE, hooked(name), FILE.replace(old, new))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("return", "load(cfg)", "read(cfg, strict=True)"),  # another value, bound by the same statement
        ("return", "        d = load(cfg)\n", "        e = load(cfg)\n        d = parse(e)\n"),
        ("return", "        use(d)\n", "        use(d)\n        other = 1\n"),
        ("step", "        self.unscale()\n", "        self.unscale()\n        self.scaled = None\n"),
        ("loop", "in items:", "in list(items):"),
        ("middle", "        use(d)\n", "        use(d)\n        if not d:\n            raise ValueError\n"),
        ("end", "        self.unscale()\n", "        for it in self.parts:\n            if it.off:\n                break\n        self.unscale()\n"),
        ("end", "        self.unscale()\n", "        try:\n            raise_if(self)\n        except E:\n            pass\n        self.unscale()\n"),
        ("with", "            self.loss()\n", "            self.loss()\n            names = [d for d in q]\n"),
    ],
)  # fmt: skip
def test_what_changes_nothing_is_placed(name: str, old: str, new: str) -> None:
    """Edits beside the hook that leave its meaning alone."""
    line = HOOKS[name][1]
    target = FILE.replace(old, new, 1)
    assert target != FILE
    assert move_file("a.py", FILE, hooked(name), target).text == hooked(name).replace(old, new, 1)
    assert line in hooked(name)


@pytest.mark.parametrize("name", ["return", "middle", "step"])
def test_an_error_that_nothing_catches_leads_nowhere(name: str) -> None:
    """ultralytics 8.4.87 raises in parse_model for a row that it cannot build: no path goes on without the hook."""
    target = changed(name, "if q: raise E")
    assert HOOKS[name][1] in move_file("a.py", FILE, hooked(name), target).text


def test_an_error_that_is_caught_is_a_way_past() -> None:
    old = "def go(rank):\n    try:\n        check(rank)\n        join(rank)\n    except E:\n        pass\n    return rank\n"
    new = old.replace("        join", "        hooks.before(rank)\n        join")
    assert move_file("a.py", old, new, f"import os\n{old}").text == f"import os\n{new}"
    with pytest.raises(Refused, match="leads past the place"):
        move_file("a.py", old, new, old.replace("        join", "        if q: raise E\n        join"))
    for around in ("suppress(E)", "held(), suppress(E)"):
        body = f"def go(rank):\n    with {around}:\n        check(rank)\n        join(rank)\n    return rank\n"
        with pytest.raises(Refused, match="leads past the place"):
            patched = body.replace("        join", "        hooks.before(rank)\n        join")
            move_file("a.py", body, patched, body.replace("        join", "        if q: raise E\n        join"))


def test_the_line_is_named() -> None:
    """A refusal says what stands in the way, and where."""
    with pytest.raises(Refused, match=r"`d = None` in line 11 changes d, which the lines use"):
        transplant(FILE, hooked("return"), changed("return", "d = None"))
    with pytest.raises(Refused, match=r"`return` in line 16 leads past the place"):
        transplant(FILE, hooked("step"), changed("step", "if q: return"))
    with pytest.raises(Refused, match=r"for i in range.*once for each pass"):
        transplant(FILE, hooked("step"), FILE.replace(BODY, f"        for i in range(2):\n{INNER}"))


def test_3_way_alone_is_checked_too() -> None:
    """Lines that cut a block in two go by git's merge: it would put them into a loop, or behind a return."""
    old = "def go(rank):\n    a = 1\n    check(rank)\n    join(rank, 'a')\n    b = 2\n    c = 3\n    d = 4\n"
    new = old.replace("    join", "    if rank and not joined():\n        join")
    assert move_file("a.py", old, new, f"import os\n{old}").text == f"import os\n{new}"
    with pytest.raises(Refused):
        move_file("a.py", old, new, old.replace("    a = 1\n", "    a = 1\n    if a: return\n"))
