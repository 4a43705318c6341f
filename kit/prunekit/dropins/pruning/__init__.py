# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pruning engine: torch and torch-pruning in, a smaller network out. It imports no upstream."""
