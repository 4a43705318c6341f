# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a finished run leaves for its user, the same in every fork."""

FILES = (
    *("pruned.pt", "pruned.yaml", "pruned.onnx", "report.md", "report.html", "results.csv"),
    *("plots/steps.png", "plots/widths.png", "plots/examples.png"),
)
