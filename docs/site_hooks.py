# SPDX-License-Identifier: AGPL-3.0-or-later
"""For mkdocs.yml: CONTRIBUTING.md as a page, and links out of docs/ as plain text, for a site has no repository."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+((?!\.\./)[^)#]+)[^)]*\)")


def on_files(files: Files, config: Any) -> Files:
    """Add CONTRIBUTING.md, which stands at the top of the repository, with its links as seen from docs/."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").replace("](docs/", "](")
    files.append(File.generated(config, "contributing.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links to files of the repository that are no pages into their text and path."""
    folder = (ROOT / "docs" / page.file.src_uri).parent

    def plain(link: re.Match[str]) -> str:
        inside = (folder / link[0].rpartition("](")[2].rstrip(")").partition("#")[0]).resolve()
        if inside.is_relative_to(ROOT / "docs"):
            return link[0]
        return f"{link[1]} (`{inside.relative_to(ROOT)}`)"

    return OUTSIDE.sub(plain, markdown)
