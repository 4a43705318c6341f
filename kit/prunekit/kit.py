# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where the kit's own data lies: pins, manifests, patches and drop-ins.

In a checkout (and `pip install -e .`) they stand at the top of the repository; `pip install .` ships them as
`prunekit.data`. `--kit DIR` (or PRUNEKIT_KIT) names another folder of the same layout, to try a changed series.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prunekit.errors import UserError

PINS = "pinned_commits.yaml"
_PACKAGE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Kit:
    """The folders that a fork is made from."""

    root: Path
    dropins: Path

    @property
    def shipped(self) -> bool:
        """Whether this is the copy inside an installed package: not a place to work in, and without the tests."""
        return self.root == _PACKAGE / "data"

    @property
    def pins(self) -> Path:
        """The pin file."""
        return self.root / PINS

    @property
    def patches(self) -> Path:
        """One folder for each upstream, with a `series` file and its patches."""
        return self.root / "patches"

    @property
    def manifests(self) -> Path:
        """One `git ls-tree` listing for each upstream."""
        return self.root / "manifests"


def find_kit(override: Path | None = None) -> Kit:
    """Return the kit in `override`, or the one that this package belongs to.

    Raises UserError where `override` holds no pin file.
    """
    if override is None:
        shipped = _PACKAGE / "data"
        root = shipped if (shipped / PINS).is_file() else _PACKAGE.parents[1]
        return Kit(root, _PACKAGE / "dropins")
    root = override.resolve()
    if not (root / PINS).is_file():
        raise UserError(
            f"{root} is no kit: it has no {PINS}; name a folder with {PINS}, manifests/, patches/, dropins/"
        )
    own = [path for path in (root / "dropins", root / "kit" / "prunekit" / "dropins") if path.is_dir()]
    return Kit(root, own[0] if own else _PACKAGE / "dropins")
