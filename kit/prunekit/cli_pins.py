# SPDX-License-Identifier: AGPL-3.0-or-later
"""`prunekit pins ...`: Click only."""

from __future__ import annotations

import click

from prunekit import views_pins
from prunekit.cli_patches import JSON, MIRROR, SOURCE
from prunekit.console import Console
from prunekit.kitdir import Kit
from prunekit.kitwrite import recover
from prunekit.pins import read_pins
from prunekit.series import read_series
from prunekit.update import Wanted, need_good, update
from prunekit.workbench import From


@click.group()
@click.pass_obj
def pins(kit: Kit) -> None:
    """Look at the pins, and move them to another release."""
    recover(kit)


@pins.command()
@JSON
@click.pass_obj
def show(kit: Kit, as_json: bool) -> None:
    """Show the pins: commit, release, tree, sdist, patches."""
    found = read_pins(kit.pins)
    counts = {it.name: len(read_series(kit, it)) for it in found.upstreams.values()}
    views_pins.show_pins(found, counts, Console(as_json=as_json))


@pins.command(name="update")
@click.argument("upstream")
@click.option("--to", metavar="REF", help="A release, tag, branch or commit (default: the newest commit).")
@SOURCE
@MIRROR
@click.option("--commit", metavar="ID", help="The commit of a release that is taken from its sdist.")
@click.option("--dry-run", is_flag=True, help="Write nothing at all.")
@click.option("--no-smoke", is_flag=True, help="Run no tests on the result (with --dry-run only).")
@JSON
@click.pass_obj
def update_pin(
    kit: Kit,
    upstream: str,
    to: str | None,
    source: str,
    mirror: str | None,
    commit: str | None,
    dry_run: bool,
    no_smoke: bool,
    as_json: bool,
) -> None:
    """Move the pin of UPSTREAM and its series; writes pin, manifest and patches in one commit, or nothing."""
    if no_smoke and not dry_run:
        raise click.UsageError("--no-smoke goes with --dry-run only: nothing is written that was not tested")
    console = Console(as_json=as_json)
    done = update(kit, Wanted(upstream, to, From(source, mirror), commit, dry_run, not no_smoke), console)
    views_pins.show_update(done, dry_run, console)
    if not as_json or done.good:
        need_good(done)
