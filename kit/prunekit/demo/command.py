# SPDX-License-Identifier: AGPL-3.0-or-later
"""`prunekit demo TARGET`: parse, set up the fork, run the demo, show what came out."""

from __future__ import annotations

import os
import shlex
import sys
import webbrowser
from pathlib import Path
from typing import Any

import click

from prunekit.console import Console
from prunekit.demo import report, runner
from prunekit.demo.flow import COMPARISON, Demo, next_commands, run_demo
from prunekit.demo.folder import clear
from prunekit.demo.recipe import NETWORKS, recipe
from prunekit.errors import UserError, nearest
from prunekit.fork.setup import Wish, set_up
from prunekit.kit import Kit

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("target")
@click.option("--dir", "folder", type=_PATH, help="Where everything goes (default: demo/TARGET).")
@click.option(
    "--fork",
    type=_PATH,
    help="The fork to use, set up if it is not there (default: forks/TARGET).",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=0,
    show_default=True,
    help="Of the data and the training.",
)
@click.option(
    "--quick",
    is_flag=True,
    help="Only show that every step works: about a minute, learns next to nothing.",
)
@click.option("--fresh", is_flag=True, help="Remove the demo that is in --dir and begin again.")
@click.option(
    "--open/--no-open",
    "show",
    default=None,
    help="Open the run's report.html in a browser (default: where a person looks).",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON document on standard output.",
)
@click.pass_obj
def demo(kit: Kit, target: str, show: bool | None, as_json: bool, fresh: bool, **options: Any) -> None:
    """Train, prune and fine-tune a small network on handwritten digits, and compare.

    Needs no GPU, no download but the fork's, and about 10 minutes on 2 CPU cores; --quick is faster, and shows less.
    Interrupted, it goes on where it was.
    """
    console = Console(as_json=as_json)
    made = plan_demo(target, console=console, **options)
    runner.check_installed()
    if fresh:
        clear(made.folder)
    if not (made.folder / COMPARISON).is_file():
        long = "a minute" if made.recipe.quick else "10 minutes"
        console.say(f"about {long} on 2 CPU cores; interrupted, it goes on where it was")
    _set_up(kit, made)
    try:
        comparison = run_demo(made)
    except KeyboardInterrupt:
        console.say(f"interrupted; what is done is kept. Go on with: {made.again}")
        raise
    _show(made, comparison, console)
    if _interactive(console) if show is None else show:
        webbrowser.open(made.page.as_uri())


def _set_up(kit: Kit, made: Demo) -> None:
    """Set up the fork, or find it there; an error's `--force` is setup's, so say whose."""
    try:
        set_up(kit, Wish(target=made.target, directory=made.fork), made.console)
    except UserError as error:
        command = shlex.join(["prunekit", "setup", made.target, str(made.fork)])
        raise UserError(f"{error} (to set it up by hand: {command}; to use another fork: --fork DIR)") from error


def plan_demo(
    target: str,
    *,
    folder: Path | None,
    fork: Path | None,
    seed: int,
    quick: bool,
    console: Console,
) -> Demo:
    """The demo that a command line means.

    Raises:
        UserError: there is no demo for this target.
    """
    if target not in NETWORKS:
        raise UserError(f"there is no demo for '{target}'{nearest(target, NETWORKS)}")
    again = shlex.join(["prunekit", "demo", target, *_given(folder, fork, seed, quick)])
    place, code = (folder or Path("demo", target), fork or Path("forks", target))
    sizes = recipe(seed=seed, quick=quick)
    return Demo(
        target,
        sizes,
        place.expanduser().resolve(),
        code.expanduser().resolve(),
        again,
        console,
    )


def _given(folder: Path | None, fork: Path | None, seed: int, quick: bool) -> list[str]:
    """The options of a command line that are not defaults."""
    named = {"--dir": folder, "--fork": fork, "--seed": seed or None}
    words = [word for key, value in named.items() if value is not None for word in (key, str(value))]
    return [*words, *(["--quick"] if quick else [])]


def _show(made: Demo, comparison: dict[str, Any], console: Console) -> None:
    """The table, what it says, the path of the run's page and the commands to type next; or all of it as JSON."""
    commands = next_commands(made)
    console.say()
    console.table(report.COLUMNS, report.rows(comparison))
    console.say(f"\n{report.verdict(comparison)}\n{report.circumstances(comparison)}\n")
    console.say(f"report of the pruning run: {made.page}\nnext:")
    for command in commands:
        console.say(f"  {command}")
    told = {key: value for key, value in comparison.items() if key not in ("pictures", "curves", "widths")}
    document = {
        **told,
        "verdict": report.verdict(comparison),
        "report": str(made.page),
        "next": commands,
    }
    console.document({**document, "fork": str(made.fork), "directory": str(made.folder)})


def _interactive(console: Console) -> bool:
    """Whether a person sits before a desktop: a terminal on both ends, and a screen of this machine's own.

    Without a screen, Python would start a text browser and take over the terminal.
    """
    person = sys.stdin.isatty() and sys.stdout.isatty() and not console.as_json and "CI" not in os.environ
    screen = sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    return person and screen and "SSH_CONNECTION" not in os.environ
