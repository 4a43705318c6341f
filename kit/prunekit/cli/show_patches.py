# SPDX-License-Identifier: AGPL-3.0-or-later
"""How the series and what was done to it are shown."""

from __future__ import annotations

from collections.abc import Sequence

from prunekit.console import Console
from prunekit.maintain.edit_series import Exported, Listed
from prunekit.patches.lint import Finding


def show_patches(items: Sequence[Listed], console: Console) -> None:
    """Show the patches of the series: order, size, files, subject."""
    rows = [
        (i.upstream, str(i.number), f"+{i.mail.added} -{i.mail.removed}", str(len(i.mail.files)), i.mail.subject)
        for i in items
    ]
    console.table(("upstream", "no", "lines", "files", "what"), rows)
    console.document([_facts(item) for item in items])


def show_patch(item: Listed, console: Console) -> None:
    """Show one patch as it is."""
    console.say(item.mail.path.read_text(encoding="utf-8").rstrip("\n"))
    console.document({**_facts(item), "message": item.mail.message})


def show_exports(done: Sequence[Exported], check: bool, console: Console) -> None:
    """Show what was written, or would be."""
    for item in done:
        if item.same:
            console.say(f"{item.upstream}: {len(item.kept)} patches, nothing to change")
        for name in item.written:
            console.say(f"{item.upstream}: {'would write' if check else 'wrote'} {name}")
        for name in item.removed:
            console.say(f"{item.upstream}: {'would remove' if check else 'removed'} {name}")
    if check and not all(item.same for item in done):
        console.say("to write it: the same command without --check, or prunekit patches refresh")
    facts = [{"upstream": i.upstream, "written": i.written, "removed": i.removed, "kept": i.kept} for i in done]
    console.document({"same": all(item.same for item in done), "series": facts})


def show_findings(findings: Sequence[tuple[str, Finding]], count: int, console: Console) -> None:
    """Show what lint has found."""
    for upstream, finding in findings:
        console.say(f"patches/{upstream}/{finding.patch}: {finding.text}")
    console.say(f"{count} patches, {len(findings)} to correct" if findings else f"{count} patches, nothing to correct")
    console.document([{"upstream": upstream, "patch": f.patch, "finding": f.text} for upstream, f in findings])


def _facts(item: Listed) -> dict[str, object]:
    """Return what a script may want to know about a patch."""
    mail = item.mail
    place = {"upstream": item.upstream, "number": item.number, "file": mail.path.name, "subject": mail.subject}
    return {**place, "added": mail.added, "removed": mail.removed, "files": list(mail.files)}
