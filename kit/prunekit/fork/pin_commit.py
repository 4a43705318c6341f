# SPDX-License-Identifier: AGPL-3.0-or-later
"""The commit of a pin that was made from an sdist: the first setup that reaches the release's tag records it."""

from __future__ import annotations

import os
from pathlib import Path

from prunekit.console import Console
from prunekit.kit import Kit
from prunekit.upstream.fetch import Fetched
from prunekit.upstream.pin_rewrite import rewrite
from prunekit.upstream.pins import UNRESOLVED, Upstream


def record_commit(kit: Kit, pin: Upstream, fetched: Fetched, mirror: str | None, console: Console) -> None:
    """Write the commit into the kit's pin file, that value alone, where the files came from the tag of upstream's URL.

    Every file has been held against its blob id by then. A mirror's tag may name another commit with the same files, so
    it is not recorded; neither is anything in an installed kit, or one that cannot be written.
    """
    if pin.commit != UNRESOLVED or fetched.how != "git" or mirror or kit.shipped:
        return
    text = rewrite(kit.pins.read_bytes().decode(), pin.name, {"commit": fetched.commit})
    try:
        _replace(kit.pins, text)
    except OSError:
        return
    console.say(f"{pin.tag} is commit {fetched.commit}: recorded in {kit.pins}; commit that line")


def _replace(path: Path, text: str) -> None:
    """Write a file whole: two setups at once write the same."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_text(text, encoding="utf-8", newline="")
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
