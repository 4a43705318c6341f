# SPDX-License-Identifier: AGPL-3.0-or-later
"""A pruning run: its folder, record, steps, fine-tuning, report. Imports planning, repair, runtime and family."""
