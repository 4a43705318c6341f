# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which channels go: scores, plans, their files, the proof that pruned equals masked. Imports repair and below."""
