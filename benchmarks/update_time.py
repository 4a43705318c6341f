# SPDX-License-Identifier: AGPL-3.0-or-later
"""How long `pins update` takes for releases, smoke excluded: wall and processor time of dry runs.

    python benchmarks/update_time.py ultralytics 8.4.52 8.4.190 --rounds 3 --out FILE

Nothing is written but the figures. The wall time depends on the network and on what else the machine does, so the
processor time (git, pip and the tool together) and the machine's load stand beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

WORDS = (sys.executable, "-m", "prunekit", "pins", "update")


def main() -> None:
    """Time every release and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("upstream")
    parser.add_argument("releases", nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--source", default="auto")
    parser.add_argument("--out", type=Path, help="where the JSON goes (default: standard output)")
    options = parser.parse_args()
    rows = [measure(options.upstream, it, options.source) for _ in range(options.rounds) for it in options.releases]
    text = json.dumps(rows, indent=1) + "\n"
    options.out.write_text(text) if options.out else print(text)
    for release in options.releases:
        own = [row for row in rows if row["release"] == release]
        best = min(own, key=lambda row: row["wall"])
        print(f"{release}: {best['wall']} s wall, {best['cpu']} s processor (best of {len(own)}); {best['verdicts']}")


def measure(upstream: str, release: str, source: str) -> dict[str, object]:
    """Time one dry run; returns wall and processor seconds, the load before it, and the verdicts."""
    words = [*WORDS, upstream, "--to", release, "--source", source, "--dry-run", "--no-smoke", "--json"]
    load, before, begun = os.getloadavg()[0], _cpu(), time.monotonic()
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    wall = round(time.monotonic() - begun, 1)
    verdicts = " ".join(row["verdict"] for row in json.loads(done.stdout)["patches"])
    cpu = round(_cpu() - before, 1)
    return {"release": release, "wall": wall, "cpu": cpu, "load": round(load, 1), "verdicts": verdicts}


def _cpu() -> float:
    """Return the processor seconds of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
