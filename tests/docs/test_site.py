# SPDX-License-Identifier: AGPL-3.0-or-later
"""The documentation site: builds strictly, loads nothing from outside, every page within two clicks; links resolve."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin

import pytest
from pages import DOCS, ROOT, pages

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "link": "href"}
OUTSIDE = re.compile(r"(?:https?:)?//")


class Page(HTMLParser):
    """What one page loads, and where it leads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the addresses of a tag."""
        values = {key: value or "" for key, value in attrs}
        if tag == "a":
            self.links.append(values.get("href", ""))
        elif tag in LOADED and not values.get("rel", "").startswith(("canonical", "prev", "next", "alternate")):
            self.loads.append(values.get(LOADED[tag], ""))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as people build it."""
    if not all(map(importlib.util.find_spec, ("material", "mkdocstrings"))):
        pytest.skip("THE SITE IS NOT BUILT: mkdocs-material, mkdocstrings: not installed (pip install -e '.[docs]')")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def built(site: Path) -> dict[str, Page]:
    """Every page of the site by its path."""
    return {str(path.relative_to(site)): Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_every_page_is_within_two_clicks(site: Path) -> None:
    found = built(site)
    wanted = {str(page.relative_to(DOCS).with_suffix(".html")) for page in DOCS.rglob("*.md")} | {"contributing.html"}
    reached = {"index.html"}
    for _ in range(2):
        leads = {urljoin(name, link.partition("#")[0]) for name in reached for link in found[name].links}
        reached |= leads & set(found)
    assert wanted <= reached, sorted(wanted - reached)


def test_the_python_reference_is_made_from_docstrings(site: Path) -> None:
    """What docs/api.md names is there with its arguments and errors, and what is private is not."""
    text = (site / "api.html").read_text(encoding="utf-8")
    for name in (
        "ultralytics.prunekit.python.prune",
        "pruning.scripts.start.Stack.pruning",
        "pruning.network.graph.PruningGraph.build",
        "pruning.planning.plan.make_plan",
        "pruning.planning.scores.score_groups",
        "pruning.planning.apply.apply_plan",
        "pruning.network.surgery.split_blocks",
        "pruning.family.contract.Family.finetune",
    ):
        assert f'id="{name}"' in text, name
    assert "a target that cannot be reached" in text and "::: " not in text
    assert not re.search(r'id="[\w.]+\._[a-z]', text)


def test_nothing_is_loaded_from_outside(site: Path) -> None:
    """No script, style, font or picture; diagrams would fetch their library, so there are none drawn in the browser."""
    for name, page in built(site).items():
        assert page.loads and not [address for address in page.loads if OUTSIDE.match(address)], name
        assert 'class="mermaid"' not in (site / name).read_text(encoding="utf-8"), name
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"(?:url\(|@import )[\"']?(?:https?:)?//", text), sheet.name


def test_no_program_is_published(site: Path) -> None:
    """The scripts that make pages are no part of the site; what pages link to is."""
    assert not list(site.rglob("*.py")) and (site / "support.json").is_file()


def test_links_between_files_resolve() -> None:
    """In README, CONTRIBUTING, CHANGELOG and docs/, as a reader of the repository follows them."""
    broken = []
    for page in [*pages(), ROOT / "CHANGELOG.md"]:
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            address = target.partition("#")[0]
            if address and not OUTSIDE.match(address) and not (page.parent / address).exists():
                if not address.startswith("mailto:"):
                    broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert not broken, broken
