# SPDX-License-Identifier: AGPL-3.0-or-later
"""The contract between the engine and an upstream's adapter, and what adapters share. Imports network and training."""
