# SPDX-License-Identifier: AGPL-3.0-or-later
"""Re-anchoring: where a hook belongs in a file that upstream has changed, or why it has no place. Below `fork`."""
