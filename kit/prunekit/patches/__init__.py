# SPDX-License-Identifier: AGPL-3.0-or-later
"""Patches and series: reading, replaying, the one canonical form, lint. May import `upstream` and the plain modules."""
