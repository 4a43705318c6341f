# SPDX-License-Identifier: AGPL-3.0-or-later
"""The commands: they parse, call and print. No logic, no git. May import everything below; nothing imports them."""
