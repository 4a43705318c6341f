# SPDX-License-Identifier: AGPL-3.0-or-later
"""`prunekit pins ...`: Click only."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from prunekit.cli import show_pins as views_pins
from prunekit.cli import show_rebase as views_rebase
from prunekit.cli.maintainer import Command, Group
from prunekit.cli.params import PATH, upstreams
from prunekit.cli.patches import JSON, MIRROR, SOURCE, warn_unfinished
from prunekit.console import Console
from prunekit.errors import CONFLICT, DONE, UserError
from prunekit.fork.dropins import dropins
from prunekit.kit import Kit
from prunekit.kit_commit import recover
from prunekit.maintain import new_upstream as addition
from prunekit.maintain.bisect import check as look_ahead
from prunekit.maintain.bisect import why as find_why
from prunekit.maintain.edit_series import pick
from prunekit.maintain.matrix import LEVELS
from prunekit.maintain.matrix import matrix as run_matrix
from prunekit.maintain.new_upstream import add_upstream
from prunekit.maintain.rebase import abort, go_on, start
from prunekit.maintain.series_repo import scratch
from prunekit.maintain.smoke import fork_subject, try_fork
from prunekit.maintain.update import Wanted, need_good, update
from prunekit.patches.series import read_series
from prunekit.upstream.fetch import From
from prunekit.upstream.pins import read_pins

PYTHON = click.option("--python", metavar="PY", help="Run the smoke in this Python (default: the tool's own).")


@click.group(cls=Group)
@click.pass_obj
def pins(kit: Kit) -> None:
    """Look at the pins, and move them to another release."""
    warn_unfinished(kit)


@pins.command(cls=click.Command)
@JSON
@click.pass_obj
def show(kit: Kit, as_json: bool) -> None:
    """Show the pins: commit, release, tree, sdist, patches."""
    found = read_pins(kit.pins)
    counts = {it.name: len(read_series(kit, it)) for it in found.upstreams.values()}
    views_pins.show_pins(found, counts, Console(as_json=as_json))


@pins.command(cls=click.Command)
@JSON
@click.pass_obj
def freeze(kit: Kit, as_json: bool) -> None:
    """Print what forks are made of, to the byte: commit, tree, sdist, every patch and the drop-ins as git ids."""
    every = pick(read_pins(kit.pins), None)
    found = [(it, read_series(kit, it), dropins(kit, it)) for it in every]
    views_pins.show_frozen(found, Console(as_json=as_json))


@pins.command(name="add")
@click.argument("url")
@click.option("--name", metavar="NAME", help="What the kit calls it (default: the repository's name).")
@click.option("--to", metavar="REF", help="A release, tag, branch or commit (default: the newest commit).")
@click.option("--covers", metavar="PATH", multiple=True, help="A file or folder that a fork holds; may be repeated.")
@click.option("--engine", metavar="DIR", help="Where the engine goes in a fork (default: NAME/pruning or pruning).")
@click.option("--target", metavar="NAME", help="The name that `prunekit setup` takes (default: the upstream's).")
@MIRROR
@click.option("--dry-run", is_flag=True, help="Write nothing at all.")
@JSON
@click.pass_obj
def add_pin(kit: Kit, url: str, as_json: bool, **words: Any) -> None:
    """Pin the git repository URL as a new upstream: pin, manifest, tree id and a target, in one commit."""
    console = Console(as_json=as_json)
    views_pins.show_added(add_upstream(kit, addition.Wanted(url, **words), console), console)


@pins.command(name="recover")
@JSON
@click.pass_obj
def recover_update(kit: Kit, as_json: bool) -> None:
    """Finish an update that was killed while it wrote; what you have edited since stays."""
    views_pins.show_recovered(recover(kit), Console(as_json=as_json))


@pins.command(name="update")
@click.argument("upstream", shell_complete=upstreams)
@click.option("--to", metavar="REF", help="A release, tag, branch or commit (default: the newest commit).")
@SOURCE
@MIRROR
@click.option("--commit", metavar="ID", help="The commit of a release that is taken from its sdist.")
@click.option("--dry-run", is_flag=True, help="Write nothing at all.")
@click.option("--no-smoke", is_flag=True, help="Run no tests on the result (with --dry-run only).")
@PYTHON
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
    python: str | None,
    as_json: bool,
) -> None:
    """Move the pin of UPSTREAM and its series; writes pin, manifest and patches in one commit, or nothing."""
    if no_smoke and not dry_run:
        raise click.UsageError("--no-smoke goes with --dry-run only: nothing is written that was not tested")
    console = Console(as_json=as_json)
    wanted = Wanted(upstream, to, From(source, mirror), commit, dry_run, not no_smoke, python)
    done = update(kit, wanted, console)
    views_pins.show_update(done, dry_run, console)
    if not as_json or done.good:
        need_good(done)


@pins.command()
@click.argument("upstream", required=False, shell_complete=upstreams)
@click.option("--to", metavar="REF", help="Look as far as this release, tag, branch or commit.")
@MIRROR
@JSON
@click.pass_obj
def check(kit: Kit, upstream: str | None, to: str | None, mirror: str | None, as_json: bool) -> int:
    """Show what has moved upstream since the pin, and the patch most at risk; 4 where one has no place."""
    console = Console(as_json=as_json)
    found = []
    for it in pick(read_pins(kit.pins), upstream):
        with console.step("history") as step:
            found.append(look_ahead(kit, it, to, From("git" if mirror else "auto", mirror), step.report))
            step.result = it.name
    views_pins.show_ahead(found, console)
    return CONFLICT if any(risk.verdict == "failed" for it in found for risk in it.risks) else DONE


@pins.command()
@click.argument("upstream", shell_complete=upstreams)
@click.option("--releases", metavar="N", type=click.IntRange(2), default=24, show_default=True)
@click.option("--from", "start", metavar="RELEASE", default="8.3.145", show_default=True, help="The oldest release.")
@click.option("--smoke", type=click.Choice(LEVELS), default="full", show_default=True)
@PYTHON
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Releases at a time.")
@click.pass_obj
def matrix(kit: Kit, upstream: str, releases: int, start: str, smoke: str, python: str | None, jobs: int) -> int:
    """Try the series on N releases; writes docs/compatibility.md and .json as it goes, and goes on after a kill."""
    console = Console()
    with console.step("matrix") as step:
        rows = run_matrix(kit, upstream, releases, start, smoke, python or sys.executable, jobs, step.report)
        step.result = f"{sum(row.passed for row in rows)} of {len(rows)} releases"
    return DONE if all(row.passed for row in rows) else CONFLICT


@pins.command()
@click.argument("directory", metavar="FORK", type=PATH)
@PYTHON
@click.option("--logs", metavar="DIR", type=PATH, help="Keep the programs' logs in DIR, which must not exist.")
@JSON
@click.pass_obj
def smoke(kit: Kit, directory: Path, python: str | None, logs: Path | None, as_json: bool) -> int:
    """Try the fork in FORK as `pins update` does: imports, each patch's test, train, prune, kill, resume, validate."""
    console = Console(as_json=as_json)
    if logs is not None and logs.exists():
        raise UserError(f"{logs} is there already: name another folder for the logs")
    subject = fork_subject(kit, directory.expanduser().resolve())
    with scratch() as folder, console.step("smoke") as step:
        tried = try_fork(subject, python or sys.executable, logs.resolve() if logs else folder, step.report)
        step.result = f"{sum(item.passed for item in tried)} of {len(tried)} passed"
    views_pins.show_tried(tried, console)
    return DONE if all(item.passed for item in tried) else CONFLICT


@click.command(cls=Command)
@click.argument("patch")
@click.option("--onto", metavar="REF", required=True, help="A release, tag, branch or commit.")
@MIRROR
@JSON
@click.pass_obj
def why(kit: Kit, patch: str, onto: str, mirror: str | None, as_json: bool) -> int:
    """Name the first upstream commit at which PATCH has no place any more; 4 where there is one."""
    console = Console(as_json=as_json)
    with console.step("bisect") as step:
        found = find_why(kit, patch, onto, From("git" if mirror else "auto", mirror), step.report)
        step.result = f"{found.tried} of {found.touching} commits looked at"
    views_pins.show_why(found, console)
    return CONFLICT if found.commit else DONE


@click.command(cls=Command)
@click.argument("upstream", required=False, shell_complete=upstreams)
@click.option("--onto", metavar="REF", help="A release, tag, branch or commit.")
@click.option("--continue", "resume", is_flag=True, help="Go on: the patch that stopped is as you have added it.")
@click.option("--skip", is_flag=True, help="Go on without the patch that stopped.")
@click.option("--abort", is_flag=True, help="Give it up; pins and patches are as they were.")
@click.option("--dir", "directory", metavar="DIR", type=PATH, help="Where to work (default: series/UPSTREAM-rebase).")
@SOURCE
@MIRROR
@click.option("--commit", metavar="ID", help="The commit of a release that is taken from its sdist.")
@PYTHON
@JSON
@click.pass_obj
def rebase(kit: Kit, upstream: str | None, as_json: bool, **words: Any) -> int:
    """Move the series of UPSTREAM onto REF, stopping where a patch needs you; then test and write as `pins update`."""
    console = Console(as_json=as_json)
    if sum([bool(words["onto"]), words["resume"], words["skip"], words["abort"]]) != 1:
        raise click.UsageError("give one of --onto REF, --continue, --skip, --abort")
    if words["abort"]:
        return views_rebase.show_abort(abort(kit, upstream), console)
    origin = From(words["source"], words["mirror"])
    wanted = Wanted(upstream or "", words["onto"], origin, words["commit"], python=words["python"])
    if words["onto"] and upstream is None:
        raise click.UsageError("name the upstream: prunekit rebase UPSTREAM --onto REF")
    if words["onto"]:
        folder = words["directory"] or Path("series", f"{upstream}-rebase")
        done = start(kit, wanted, folder.expanduser().resolve(), console)
    else:
        done = go_on(kit, wanted, console, skip=words["skip"])
    return views_rebase.show_rebase(done, console)
