# SPDX-License-Identifier: AGPL-3.0-or-later
"""Bytes and seconds of `prunekit setup` beside a full clone of the same upstream, in one run.

    python benchmarks/setup_bytes.py [--target v8] [--mirror URL] [--sdist]

Both go through git with the user's own configuration, so a local mirror set by `url.<base>.insteadOf` serves both.
Bytes are those of the packs that git keeps (for the sdist, of the archive). Times are wall clock on this machine and
this network: compare the two of one run, not those of two machines.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from prunekit.kit import find_kit
from prunekit.upstream.pins import read_pins


def clone(url: str, folder: Path) -> tuple[int, float]:
    """Clone everything, without a checkout; returns (bytes of its packs, seconds)."""
    start = time.monotonic()
    subprocess.run(["git", "clone", "--quiet", "--no-checkout", "--no-local", url, str(folder)], check=True)
    seconds = time.monotonic() - start
    return sum(path.stat().st_size for path in (folder / ".git" / "objects").rglob("*.pack")), seconds


def set_up(target: str, folder: Path, *options: str) -> tuple[int, float]:
    """Run a whole setup in a process of its own; returns (bytes fetched, seconds)."""
    command = [sys.executable, "-m", "prunekit", "setup", target, str(folder), "--json", *options]
    start = time.monotonic()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return int(json.loads(done.stdout)["fetched_bytes"]), time.monotonic() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="v8")
    parser.add_argument("--mirror", help="clone and set up from this repository")
    parser.add_argument("--sdist", action="store_true", help="also set up from the sdist")
    args = parser.parse_args()
    url = args.mirror or read_pins(find_kit().pins).target(args.target).upstream.url
    mirror = ["--mirror", args.mirror] if args.mirror else []
    with tempfile.TemporaryDirectory() as folder:
        rows = {
            "full clone": clone(url, Path(folder, "clone")),
            "setup, git": set_up(args.target, Path(folder, "git"), "--source", "git", *mirror),
        }
        if args.sdist:
            rows["setup, sdist"] = set_up(args.target, Path(folder, "sdist"), "--source", "sdist")
    whole = rows["full clone"][0]
    print(f"{'':<14}{'MB':>8}{'seconds':>9}{'of the clone':>14}")
    for name, (size, seconds) in rows.items():
        print(f"{name:<14}{size / 1e6:>8.2f}{seconds:>9.1f}{size / whole:>14.1%}")


if __name__ == "__main__":
    main()
