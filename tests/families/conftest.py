# SPDX-License-Identifier: AGPL-3.0-or-later
"""Forks for the tests that all families share: one of one's own, or one for a whole module."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import attacks
import badlines
import pytest
from forkhome import Home
from kinds import Family


@pytest.fixture
def home(request: pytest.FixtureRequest, family: Family) -> Home:
    """A private copy of the family's fork, with best.pt and tiny.yaml."""
    return ready(request, family)


@pytest.fixture(scope="module")
def attacked(request: pytest.FixtureRequest) -> Callable[[Family], Home]:
    """A family's fork with every file that would run something in it, one for the module."""

    @cache
    def make(family: Family) -> Home:
        home = ready(request, family)
        attacks.write_all(home.root)
        return home

    return make


@pytest.fixture(scope="module")
def damaged(request: pytest.FixtureRequest) -> Callable[[Family], Home]:
    """A family's fork with the files that the tables of bad input name, one for the module: nothing may change it."""

    @cache
    def make(family: Family) -> Home:
        home = ready(request, family)
        home.python("-c", badlines.EVIL, "evil.pt")
        badlines.damage(home.root)
        family.files(home, request)
        return home

    return make


def ready(request: pytest.FixtureRequest, family: Family) -> Home:
    """A copy of the fork, an untrained network of ten classes, and the tiny set."""
    home = family.home(request)
    family.best(home)
    (home.root / "tiny.yaml").write_text(family.data(request).read_text())
    return home
