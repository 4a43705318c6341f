# SPDX-License-Identifier: AGPL-3.0-or-later
"""README and docs/ speak the field's language: default settings, not pruned, recalibrated, user error, available.

The pages are looked at without blocks of code and `quoted` output; of the code every text that is no docstring, which
messages and the scripts' `--help` are made of; and the tool's `--help`, as its golden files hold it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import DOCS, GENERATED, ROOT

REFERENCE = re.compile(r"^::: ([\w.]+)$", re.MULTILINE)  # in docs/api.md

# What to say instead, by what is not said any more.
WORDS = {
    r"\bfall(?:s|ing)? silent|\bsilent channels|\bin silence\b|\bnothing is silent": "scale driven to zero; an error",
    r"\bas (?:it|they|the scripts?) comes?\b": "default settings",
    r"\bpull(?:s|ed)\b|\b(?:whose|the|'s) pull\b|\bpull (?:on|of|is|towards)\b": "distillation loss weighted ...",
    r"\bceilings?\b": "smallest reachable size",
    r"\bwalk(?:s|ed|ing)?\b": "tested end to end",
    r"\bto hand\b|\bat hand\b|\b(?:in|out of) reach\b": "available",
    r"\bmend(?:s|ed|ing|able)?\b": "correct; user error",
    r"\b(?:is|are|or) not whole\b": "incomplete",
    r"\b(?:kept|stays?|left) whole\b|\b(?:keeps?|leaves?)\b[^.|]{0,40}\bwhole\b(?! \w)": "not pruned",
    r"\banew\b": "again; recalibrated",
    r"\btimes as fast as dense\b": "measured speed-up",
    r"\b(?:workbench|occupant|overlay|borrowed|taught|trial|probe|gaps?)\b": "a field's name for it",
}

# Texts of the code name things of the code, too: a step of the smoke, a file.
OF_PAGES_ALONE = {r"\bwalk(?:s|ed|ing)?\b", list(WORDS)[-1]}


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
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").partition("\n## 0.1")[0]
    hits = [f"CHANGELOG.md:{line}: {word!r}: {instead}" for line, word, instead in found(changes)]
    hits += [
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


def texts_of(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of each text in a file of code that is no docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    first = [node.body[0] for node in ast.walk(tree) if isinstance(node, holders) and node.body]
    docstrings = {id(it.value) for it in first if isinstance(it, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


def test_docstrings_of_the_reference_use_the_terms_of_the_field() -> None:
    """The modules that docs/api.md is made from."""
    names = [name.split(".") for name in REFERENCE.findall((DOCS / "api.md").read_text(encoding="utf-8"))]
    folders = [ROOT / "kit/prunekit/dropins", ROOT / "kit/prunekit/dropins/ultralytics", ROOT / "kit"]
    files = {
        path
        for parts in names
        for folder in folders
        for path in (folder.joinpath(*parts).with_suffix(".py"), folder.joinpath(*parts[:-1]).with_suffix(".py"))
        if path.is_file()
    }
    assert len(files) > 10
    hits = [
        f"{path.relative_to(ROOT)}: {word!r}: {instead}"
        for path in sorted(files)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        for _, word, instead in found(ast.get_docstring(node) or "")
    ]
    assert not hits, "\n".join(hits)


def test_messages_and_help_use_the_terms_of_the_field() -> None:
    code, goldens = sorted((ROOT / "kit").rglob("*.py")), sorted((ROOT / "tests/tool/golden").glob("help-*.txt"))
    assert len(code) > 100 and len(goldens) > 20
    texts = [(path, line, text) for path in code for line, text in texts_of(path)]
    texts += [(path, 1, path.read_text(encoding="utf-8")) for path in goldens]
    patterns = {pattern: instead for pattern, instead in WORDS.items() if pattern not in OF_PAGES_ALONE}
    hits = [
        f"{path.relative_to(ROOT)}:{line}: {hit[0]!r}: {instead}"
        for path, line, text in texts
        for pattern, instead in patterns.items()
        if (hit := re.search(pattern, text, re.IGNORECASE))
    ]
    assert not hits, "\n".join(hits)
