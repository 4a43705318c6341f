# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every upstream commit of the last years that touches a patched file: would the series have fitted there?

    python benchmarks/replay_commits.py yolov5 --years 2

Each commit is tried as if it were the new pin, from the pin backwards and forwards, without a checkout and without
smoke. Prints the verdict of every patch at every commit as JSON, and a summary.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path

from prunekit.kit import find_kit
from prunekit.maintain.edit_series import pick
from prunekit.maintain.probe import Probe
from prunekit.maintain.series_repo import From, scratch, set_up_bench
from prunekit.upstream.history import head_of, history
from prunekit.upstream.pins import read_pins


def main() -> None:
    """Replay and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("upstream")
    parser.add_argument("--years", type=float, default=2.0)
    parser.add_argument("--out", type=Path, help="where the JSON goes (default: standard output)")
    options = parser.parse_args()
    kit = find_kit()
    (upstream,) = pick(read_pins(kit.pins), options.upstream)
    repo = history(upstream, upstream.url, lambda _: None)
    with scratch() as folder:
        probe = Probe(set_up_bench(kit, upstream, From(), folder, lambda _: None), repo)
        numbers = range(len(probe.bench.commits))
        files = sorted({path for number in numbers for path in probe.files(number)})
        pinned = datetime.fromisoformat(upstream.date)
        since = pinned.replace(year=pinned.year - int(options.years)).isoformat()
        words = ("log", "--first-parent", "--reverse", f"--since={since}", "--format=%H %cI %s", head_of(repo), "--")
        rows = []
        for line in repo.text(*words, *files).splitlines():
            commit, date, subject = line.split(" ", 2)
            verdicts = {probe.bench.patches[number].name[:4]: probe.verdict(number, commit)[0] for number in numbers}
            rows.append({"commit": commit, "date": date, "subject": subject, "verdicts": verdicts})
            print(f"{date[:10]} {commit[:12]} {' '.join(verdicts.values())}", file=sys.stderr)
    whole = sum("failed" not in row["verdicts"].values() for row in rows)
    by_patch = {name: Counter(row["verdicts"][name] for row in rows) for name in (rows[0]["verdicts"] if rows else {})}
    found = {"upstream": upstream.name, "since": since, "commits": len(rows), "all_placed": whole, "by_patch": by_patch}
    text = json.dumps({**found, "rows": rows}, indent=1) + "\n"
    options.out.write_text(text) if options.out else print(text)
    print(f"{whole} of {len(rows)} commits take the whole series", file=sys.stderr)


if __name__ == "__main__":
    main()
