# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command line: parse, call, print. No git and no logic here; nothing that the tool imports imports torch."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from prunekit import __version__
from prunekit.cli import show_forks as views
from prunekit.cli.params import PATH, targets
from prunekit.cli.patches import patches
from prunekit.cli.pins import pins, rebase, why
from prunekit.cli.show_start import show_start
from prunekit.console import Console, finish, prepare
from prunekit.errors import DONE, DRIFT, INTERNAL, USER, PrunekitError, UserError, from_os_error, nearest, need_folder
from prunekit.fork import upgrade as upgrades
from prunekit.fork.doctor import examine
from prunekit.fork.into import BRANCH, IntoWish, set_up_into
from prunekit.fork.setup import Wish, set_up
from prunekit.fork.status import find_forks, status_of, verdict_on
from prunekit.fork.takeout import take_out
from prunekit.kit import Kit, find_kit
from prunekit.upstream.fetch import SOURCES, From
from prunekit.upstream.pins import read_pins

_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")


class _Group(click.Group):
    """A group that knows the nearest command."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; raises UsageError with the nearest name."""
        unknown = args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-")
        if unknown and not ctx.resilient_parsing:  # a shell that completes asks for no errors
            raise click.UsageError(f"there is no command '{args[0]}'{nearest(args[0], self.list_commands(ctx))}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Group,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--kit", type=PATH, envvar="PRUNEKIT_KIT", help="Use the pins, patches and drop-ins of this folder.")
@click.version_option(__version__, prog_name="prunekit")
@click.pass_context
def cli(context: click.Context, kit: Path | None) -> None:
    """Set up forks of YOLO upstreams that can be pruned and fine-tuned with the upstream's own commands.

    Exit codes: 0 done, 1 internal error, 2 user error, 3 drift found by verify, 4 a patch does not apply.
    """
    need_folder()
    context.obj = find_kit(kit)
    if context.invoked_subcommand is None:
        try:
            forks = find_forks(context.obj, None)
        except UserError:  # none here, or one that `prunekit status` says more about
            forks = []
        show_start(read_pins(context.obj.pins), forks, Console())


@cli.command()
@click.argument("target", shell_complete=targets)
@click.argument("directory", metavar="[DIR]", required=False, type=PATH)
@click.option(
    "--source", type=click.Choice(SOURCES), default="auto", show_default=True, help="Where the files come from."
)
@click.option(
    "--mirror",
    metavar="URL",
    help="Fetch from this git repository instead of the upstream's; --source auto lets the sdist stand in for it.",
)
@click.option("--at", metavar="VERSION", help="Another version than the pin: a release, a commit, or a branch.")
@click.option("--into", metavar="DIR", type=PATH, help="Put it into this git clone of yours, on a new branch.")
@click.option("--branch", metavar="NAME", help="The new branch of --into.  [default: prunekit]")
@click.option("--remove", is_flag=True, help="Take it out of the clone --into again; what you made since stays.")
@click.option("--force", is_flag=True, help="Set up again; an existing fork is moved to DIR.backup-N as a whole.")
@_JSON
@click.pass_context
def setup(
    context: click.Context,
    directory: Path | None,
    as_json: bool,
    into: Path | None,
    branch: str | None,
    remove: bool,
    **wish: Any,
) -> None:
    """Make the fork TARGET in DIR (default: forks/TARGET)."""
    console = Console(as_json=as_json)
    if wish["mirror"] and context.get_parameter_source("source") is ParameterSource.DEFAULT:
        wish["source"] = "git"  # who names a mirror wants no other host asked behind their back
    if into is not None or branch is not None or remove:
        asked = {f"--{it}": context.get_parameter_source(it) for it in ("branch", "source", "mirror")}
        given = [name for name, source in asked.items() if source is not ParameterSource.DEFAULT]
        if remove and into is not None and given:
            raise UserError(f"--remove takes out what is there, so {given[0]} has no meaning beside it: leave it out")
        return _into(context.obj, into, (directory, branch, remove), wish, console)
    folder = (directory or Path("forks", wish["target"])).expanduser().resolve()
    outcome = set_up(context.obj, Wish(directory=folder, **wish), console)
    views.show_setup(outcome, console)


def _into(
    kit: Kit,
    into: Path | None,
    chosen: tuple[Path | None, str | None, bool],
    wish: dict[str, Any],
    console: Console,
) -> None:
    """Put the fork into a clone, or take it out. Raises UserError for options that do not go together."""
    directory, branch, remove = chosen
    if into is None:
        raise UserError(f"{'--remove' if remove else '--branch'} needs --into DIR, the clone")
    given = {"DIR": directory, "--at": wish["at"], "--force": wish["force"]}
    if wrong := [name for name, value in given.items() if value]:
        raise UserError(
            f"{wrong[0]} and --into exclude each other: the clone is the folder, and what it holds the version"
        )
    folder = into.expanduser().resolve()
    if remove:
        upstream = read_pins(kit.pins).target(wish["target"]).upstream.name
        views.show_removed(take_out(folder, upstream, console), console)
        return
    origin = From(wish["source"], wish["mirror"])
    views.show_setup(set_up_into(kit, IntoWish(wish["target"], folder, branch or BRANCH, origin), console), console)


@cli.command()
@click.argument("directory", metavar="DIR", type=PATH)
@click.option("--continue", "go_on", is_flag=True, help="Go on after a conflict was resolved.")
@click.option("--abort", is_flag=True, help="Give up an upgrade that has stopped: DIR is as it was.")
@click.option(
    "--source", type=click.Choice(SOURCES), default="auto", show_default=True, help="Where the files come from."
)
@click.option("--mirror", metavar="URL", help="Fetch from this git repository instead of the upstream's.")
@_JSON
@click.pass_obj
def upgrade(
    kit: Kit, directory: Path, go_on: bool, abort: bool, source: str, mirror: str | None, as_json: bool
) -> None:
    """Bring the fork in DIR to what the kit makes now: own commits are rebased, everything else of yours stays."""
    console, folder = Console(as_json=as_json), directory.expanduser().resolve()
    if go_on and abort:
        raise UserError("--continue and --abort exclude each other")
    if go_on or abort:
        done = upgrades.go_on(folder, console) if go_on else upgrades.give_up(folder, console)
    else:
        done = upgrades.upgrade(kit, folder, From(source, mirror), console)
    views.show_upgraded(done, console)


@cli.command(name="list")
@_JSON
@click.pass_obj
def list_targets(kit: Kit, as_json: bool) -> None:
    """List the targets, their upstreams and pins."""
    views.show_targets(read_pins(kit.pins), Console(as_json=as_json))


@cli.command()
@click.argument("directory", metavar="[DIR]", required=False, type=PATH)
@_JSON
@click.pass_obj
def status(kit: Kit, directory: Path | None, as_json: bool) -> None:
    """Show the state of the fork in DIR (default: the one you are in, or all in forks/)."""
    views.show_status([status_of(kit, it) for it in find_forks(kit, directory)], Console(as_json=as_json))


@cli.command()
@click.argument("directory", metavar="[DIR]", required=False, type=PATH)
@_JSON
@click.pass_obj
def verify(kit: Kit, directory: Path | None, as_json: bool) -> int:
    """Compare a fork byte for byte with its pin, series and drop-ins; 3 where it differs."""
    verdicts = [verdict_on(kit, it) for it in find_forks(kit, directory)]
    views.show_verdicts(verdicts, Console(as_json=as_json))
    return DONE if all(verdict.good for verdict in verdicts) else DRIFT


@cli.command()
@click.argument("directory", metavar="[DIR]", required=False, type=PATH)
@click.option("--from", "base", type=click.Choice(("setup", "upstream")), default="setup", show_default=True)
@click.option("--stat", is_flag=True, help="Only the number of lines by file.")
@_JSON
@click.pass_obj
def diff(kit: Kit, directory: Path | None, base: str, stat: bool, as_json: bool) -> None:
    """Show what differs in a fork: from what setup made, or from the upstream at its pin."""
    views.show_diffs(find_forks(kit, directory), base, stat, Console(as_json=as_json))


@cli.command()
@click.option("--offline", is_flag=True, help="Ask no host.")
@_JSON
@click.pass_obj
def doctor(kit: Kit, offline: bool, as_json: bool) -> int:
    """Look for what would keep setup or pruning from working; 2 where there is a problem."""
    checks = examine(kit, network=not offline)
    views.show_checks(checks, Console(as_json=as_json))
    return USER if any(check.state == "problem" for check in checks) else DONE


@cli.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("words", metavar="TARGET [OPTIONS]", nargs=-1, type=click.UNPROCESSED, shell_complete=targets)
@click.pass_context
def demo(context: click.Context, words: tuple[str, ...]) -> Any:
    """Prune a small detector on bundled data, with a report: the whole way in minutes."""
    from prunekit.demo.command import demo as command  # loaded late: every other command does without it

    with command.make_context("demo", list(words), parent=context.parent) as own:
        return command.invoke(own)


cli.add_command(patches)
cli.add_command(pins)
cli.add_command(rebase)
cli.add_command(why)


def main() -> None:
    """Run the command line and end the process with its exit code."""
    prepare()
    sys.exit(finish(run(sys.argv[1:])))


def run(args: list[str]) -> int:
    """Run the command line; returns the exit code. Errors the user can fix are one line, without a traceback."""
    console = Console(as_json="--json" in args)
    try:
        return int(cli.main(args=args, prog_name="prunekit", standalone_mode=False) or 0)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _fail(console, f"interrupted; {_left(args)}", 130)
    except click.ClickException as error:
        return _fail(console, error.format_message(), USER)
    except PrunekitError as error:
        return _fail(console, str(error), error.exit_code)
    except Exception as error:  # noqa: BLE001  the last line of defence: a message and code 1
        mendable = from_os_error(error, Path(error.filename or ".")) if isinstance(error, OSError) else None
        if mendable:
            return _fail(console, str(mendable), USER)
        if os.environ.get("PRUNEKIT_DEBUG"):
            traceback.print_exc()
        text = f"internal error: {type(error).__name__}: {error}; PRUNEKIT_DEBUG=1 shows where; please report it"
        return _fail(console, text, INTERNAL)


def _left(args: list[str]) -> str:
    """Return what an interrupted command leaves."""
    if "upgrade" in args or any(word.partition("=")[0] == "--into" for word in args):
        return "run the same command again: it finishes what it has begun, or says what to type"
    return "nothing half-made is left"


def _fail(console: Console, message: str, code: int) -> int:
    """Print an error for people, and for a script where it asked for JSON; returns the exit code."""
    console.fail(message)
    console.document({"error": message, "exit_code": code})
    return code
