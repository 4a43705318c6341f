# SPDX-License-Identifier: AGPL-3.0-or-later
"""The commands for people who work on the kit: they need a checkout, and say so where there is none. Click only."""

from __future__ import annotations

from typing import Any

import click

from prunekit.errors import UserError
from prunekit.kit import Kit


class Command(click.Command):
    """A command that reads the kit's tests or writes into the kit."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; raises UserError where the kit is the copy inside an installed package."""
        kit = ctx.find_object(Kit)
        if kit is not None and kit.shipped:
            words = ctx.command_path.partition(" ")[2]
            raise UserError(
                f"`{ctx.command_path}` works on a checkout of the kit, and this prunekit is an installed copy without "
                f"one: `pip install -e .` in a checkout, or name it: prunekit --kit CHECKOUT {words} ..."
            )
        return super().invoke(ctx)


class Group(click.Group):
    """A group of such commands; one that only shows what is there takes `cls=click.Command`."""

    command_class = Command
