# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command line: parse, call, print. No git and no logic here; nothing that the tool imports imports torch."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Any

import click

from prunekit import __version__, views
from prunekit.console import Console
from prunekit.errors import INTERNAL, USER, PrunekitError, from_os_error, nearest
from prunekit.kitdir import Kit, find_kit
from prunekit.pins import read_pins
from prunekit.setup_fork import Wish, set_up
from prunekit.source import SOURCES

_PATH = click.Path(path_type=Path)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")


class _Group(click.Group):
    """A group that knows the nearest command."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; raises UsageError with the nearest name."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise click.UsageError(f"there is no command '{args[0]}'{nearest(args[0], self.list_commands(ctx))}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--kit", type=_PATH, envvar="PRUNEKIT_KIT", help="Use the pins, patches and drop-ins of this folder.")
@click.version_option(__version__, prog_name="prunekit")
@click.pass_context
def cli(context: click.Context, kit: Path | None) -> None:
    """Set up forks of YOLO upstreams that can be pruned and fine-tuned with the upstream's own commands.

    Exit codes: 0 done, 1 internal error, 2 something you can mend, 3 drift found by verify, 4 a patch does not apply.
    """
    context.obj = find_kit(kit)


@cli.command()
@click.argument("target")
@click.argument("directory", metavar="[DIR]", required=False, type=_PATH)
@click.option("--source", type=click.Choice(SOURCES), default="auto", show_default=True, help="Where the files come from.")
@click.option("--mirror", metavar="URL", help="Fetch from this git repository instead of the upstream's.")
@click.option("--force", is_flag=True, help="Set up anew; an existing fork is moved to DIR.backup-N as a whole.")
@_JSON
@click.pass_obj
def setup(kit: Kit, directory: Path | None, as_json: bool, **wish: Any) -> None:
    """Make the fork TARGET in DIR (default: forks/TARGET)."""
    console = Console(as_json=as_json)
    folder = (directory or Path("forks", wish["target"])).expanduser().resolve()
    outcome = set_up(kit, Wish(directory=folder, **wish), console)
    views.show_setup(outcome, console)


@cli.command(name="list")
@_JSON
@click.pass_obj
def list_targets(kit: Kit, as_json: bool) -> None:
    """List the targets, their upstreams and pins."""
    views.show_targets(read_pins(kit.pins), Console(as_json=as_json))


def main() -> None:
    """Run the command line and end the process with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(args: list[str]) -> int:
    """Run the command line; returns the exit code. Errors the user can mend are one line, without a traceback."""
    console = Console(as_json="--json" in args)
    try:
        return int(cli.main(args=args, prog_name="prunekit", standalone_mode=False) or 0)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _fail(console, "interrupted; nothing half-made is left", 130)
    except click.ClickException as error:
        return _fail(console, error.format_message(), USER)
    except PrunekitError as error:
        return _fail(console, str(error), error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        mendable = from_os_error(error, Path.cwd()) if isinstance(error, OSError) else None
        if mendable:
            return _fail(console, str(mendable), USER)
        if os.environ.get("PRUNEKIT_DEBUG"):
            traceback.print_exc()
        text = f"internal error: {type(error).__name__}: {error}; PRUNEKIT_DEBUG=1 shows where; please report it"
        return _fail(console, text, INTERNAL)


def _fail(console: Console, message: str, code: int) -> int:
    """Print an error for people, and for a script where it asked for JSON; returns the exit code."""
    console.fail(message)
    console.document({"error": message, "exit_code": code})
    return code
