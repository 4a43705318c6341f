# SPDX-License-Identifier: AGPL-3.0-or-later
"""README and docs/ speak the field's language: default settings, not pruned, recalibrated, user error, available.

Only the pages are looked at, without blocks of code and `quoted` output; messages, `--help` and the pages that are made
from them (`pages.GENERATED`) come later.
"""

from __future__ import annotations

import re

import pytest
from pages import DOCS, GENERATED, ROOT

# What to say instead, by what is not said any more.
WORDS = {
    r"\bfall(?:s|ing)? silent|\bsilent channels|\bin silence\b|\bnothing is silent": "scale driven to zero; an error",
    r"\bas (?:it|they|the scripts?) comes?\b": "default settings",
    r"\bwhose pull\b|\bthe pull\b|\bpulls? (?:on|of|is)\b": "distillation loss weighted ...",
    r"\bceilings?\b": "smallest reachable size",
    r"\bwalk(?:s|ed|ing)?\b": "tested end to end",
    r"\bto hand\b|\bat hand\b|\b(?:in|out of) reach\b": "available",
    r"\bmend(?:s|ed|ing|able)?\b": "correct; user error",
    r"\b(?:kept|stays?|left) whole\b|\b(?:keeps?|leaves?)\b[^.|]{0,40}\bwhole\b(?! \w)": "not pruned",
    r"\banew\b": "again; recalibrated",
    r"\btimes as fast as dense\b": "measured speed-up",
    r"\b(?:workbench|occupant|overlay|borrowed|taught|trial|probe|gaps?)\b": "a field's name for it",
}


def prose(text: str) -> str:
    """A page without blocks of code and quoted code, line by line as it was."""
    text = re.sub(r"^```.*?^```", lambda block: "\n" * block[0].count("\n"), text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`]*`", lambda code: "``" + "\n" * code[0].count("\n"), text)


def found(text: str) -> list[tuple[int, str, str]]:
    """(line, words, what to say instead) of each of them in a page, also where a line ends within."""
    plain = prose(text)
    hits = []
    for pattern, instead in WORDS.items():
        for hit in re.finditer(pattern.replace(" ", r"\s+"), plain, re.IGNORECASE):
            hits.append((plain.count("\n", 0, hit.start()) + 1, hit[0], instead))
    return hits


def test_pages_use_the_terms_of_the_field() -> None:
    pages = [ROOT / "README.md", *(page for page in sorted(DOCS.rglob("*.md")) if page.name not in GENERATED)]
    assert len(pages) > 20
    hits = [
        f"{page.relative_to(ROOT)}:{line}: {word!r}: {instead}"
        for page in pages
        for line, word, instead in found(page.read_text(encoding="utf-8"))
    ]
    assert not hits, "\n".join(hits)


@pytest.mark.parametrize(
    ("text", "hits"),
    [
        ("1.69 as it\ncomes, and kept whole", 2),
        ("`head kept whole`\n\n```\nmend it\n```\n", 0),
        ("a whole network", 0),
        ("It leaves a layer or a block whole.", 1),
        ("the walk", 1),
    ],
)
def test_what_counts_as_found(text: str, hits: int) -> None:
    assert len(found(text)) == hits
