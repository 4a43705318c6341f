# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a finished run leaves for its user, the same in every fork."""

import re

FILES = (
    *("pruned.pt", "pruned.yaml", "pruned.onnx", "report.md", "report.html", "results.csv"),
    *("plots/steps.png", "plots/widths.png", "plots/examples.png"),
)
# How the one threshold of a slimming is said: its value, channels under it, of how many, those that go.
THRESHOLD = re.compile(r"one threshold \|gamma\| (\S+): (\d+) of (\d+) BatchNorm channels are under it, (\d+) go")
