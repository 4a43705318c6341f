# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a network is: traced, its groups of coupled channels, widths, costs, surgery. Imports errors and settings."""
