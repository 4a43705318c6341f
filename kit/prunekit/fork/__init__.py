# SPDX-License-Identifier: AGPL-3.0-or-later
"""Forks on disk: made, recorded, verified, compared with what the kit makes. Imports `porting`, `patches` and below."""
