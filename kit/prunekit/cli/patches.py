# SPDX-License-Identifier: AGPL-3.0-or-later
"""`prunekit patches ...`: Click only."""

from __future__ import annotations

from pathlib import Path

import click

from prunekit.cli import show_patches as views_patches
from prunekit.cli.maintainer import Group
from prunekit.cli.params import PATH, upstreams
from prunekit.console import Console
from prunekit.errors import DONE, DRIFT, USER
from prunekit.kit import Kit
from prunekit.kit_commit import unfinished
from prunekit.maintain import edit_series as patchwork
from prunekit.patches.lint import lint as lint_series
from prunekit.upstream.fetch import SOURCES, From
from prunekit.upstream.pins import read_pins

JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")
SOURCE = click.option(
    "--source", type=click.Choice(SOURCES), default="auto", show_default=True, help="Where upstream's files come from."
)
MIRROR = click.option("--mirror", metavar="URL", help="Fetch from this git repository instead of the upstream's.")


def warn_unfinished(kit: Kit) -> None:
    """Say that an update was killed while it wrote, where one was; what only reads must not finish it."""
    if said := unfinished(kit):
        Console().warn(said)


@click.group(cls=Group)
@click.pass_obj
def patches(kit: Kit) -> None:
    """Work on the series: list, edit as commits, export, check."""
    warn_unfinished(kit)


@patches.command(name="list", cls=click.Command)
@click.argument("upstream", required=False, shell_complete=upstreams)
@JSON
@click.pass_obj
def list_patches(kit: Kit, upstream: str | None, as_json: bool) -> None:
    """List the patches in their order."""
    views_patches.show_patches(patchwork.listed(kit, upstream), Console(as_json=as_json))


@patches.command(cls=click.Command)
@click.argument("name")
@JSON
@click.pass_obj
def show(kit: Kit, name: str, as_json: bool) -> None:
    """Show the patch NAME (a part of its file name will do)."""
    views_patches.show_patch(patchwork.find_patch(kit, name), Console(as_json=as_json))


@patches.command()
@click.argument("upstream", shell_complete=upstreams)
@click.argument("directory", metavar="[DIR]", required=False, type=PATH)
@SOURCE
@MIRROR
@click.pass_obj
def checkout(kit: Kit, upstream: str, directory: Path | None, source: str, mirror: str | None) -> None:
    """Make DIR (default: series/UPSTREAM): the series as commits on a branch, ready to edit."""
    console = Console()
    folder = (directory or Path("series", upstream)).expanduser().resolve()
    with console.step("series") as step:
        found, count = patchwork.check_out(kit, upstream, folder, From(source, mirror), step.report)
        step.result = f"{found.name} {found.release}, {count} patches as commits in {folder}"
    console.say(
        f"edit there: git commit --fixup=<patch>, git rebase -i --autosquash; then: prunekit patches export {folder}"
    )


@patches.command()
@click.argument("directory", metavar="[DIR]", required=False, type=PATH)
@click.option("--check", is_flag=True, help="Write nothing; 3 where the patches would change.")
@SOURCE
@MIRROR
@JSON
@click.pass_obj
def export(kit: Kit, directory: Path | None, check: bool, source: str, mirror: str | None, as_json: bool) -> int:
    """Write the commits of DIR as patches. Without DIR, --check replays every series and compares (for CI)."""
    console = Console(as_json=as_json)
    if directory is None and not check:
        raise click.UsageError(
            "name the folder that `prunekit patches checkout` has made, or use --check or `patches refresh`"
        )
    if directory is None:
        with console.step("replay") as step:
            done = patchwork.refresh(kit, None, From(source, mirror), step.report, check=True)
    else:
        done = [patchwork.export(kit, directory.expanduser().resolve(), check=check)]
    views_patches.show_exports(done, check, console)
    return DRIFT if check and not all(item.same for item in done) else DONE


@patches.command()
@click.argument("upstream", required=False, shell_complete=upstreams)
@SOURCE
@MIRROR
@JSON
@click.pass_obj
def refresh(kit: Kit, upstream: str | None, source: str, mirror: str | None, as_json: bool) -> None:
    """Replay the series at the pin and write it in canonical form."""
    console = Console(as_json=as_json)
    with console.step("replay") as step:
        done = patchwork.refresh(kit, upstream, From(source, mirror), step.report, check=False)
    views_patches.show_exports(done, False, console)


@patches.command()
@click.argument("upstream", required=False, shell_complete=upstreams)
@JSON
@click.pass_obj
def lint(kit: Kit, upstream: str | None, as_json: bool) -> int:
    """Check headers, sizes, order and tests of the series; 2 where something is to be corrected."""
    chosen = patchwork.pick(read_pins(kit.pins), upstream)
    findings = [(it.name, finding) for it in chosen for finding in lint_series(kit, it)]
    views_patches.show_findings(findings, len(patchwork.listed(kit, upstream)), Console(as_json=as_json))
    return USER if findings else DONE


@patches.command()
@click.argument("name")
@SOURCE
@MIRROR
@JSON
@click.pass_obj
def drop(kit: Kit, name: str, source: str, mirror: str | None, as_json: bool) -> None:
    """Take the patch NAME out of its series, if the others apply without it."""
    console = Console(as_json=as_json)
    with console.step("replay") as step:
        done = patchwork.drop(kit, name, From(source, mirror), step.report)
    views_patches.show_exports([done], False, console)
