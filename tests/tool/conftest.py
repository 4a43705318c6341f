# SPDX-License-Identifier: AGPL-3.0-or-later
"""The small world for all tests of the tool."""

from smallworld import copy_folder, template, world

__all__ = ["copy_folder", "template", "world"]
