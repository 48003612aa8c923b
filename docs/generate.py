"""Write docs/cli.md, the reference of the command line, from the commands themselves: `make docs`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from hit.cli import app

HEAD = """# Command line

Written by `make docs` from the commands themselves; a test compares the two.

What a user can mend is one line on stderr and exit code 2; `Ctrl-C` is exit code 130. Progress goes to stderr. With `--json` the
last line of stdout is one JSON object.
"""


def reference() -> str:
    """Return the whole page."""
    group: Any = typer.main.get_command(app)
    return "\n".join([HEAD, _section("hit", group), *_sections("hit", group)])


def _sections(name: str, group: Any) -> Iterator[str]:
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _sections(f"{name} {word}", command)
        else:
            yield _section(f"{name} {word}", command)


def _section(name: str, command: Any) -> str:
    context = command.context_class(command, info_name=name)
    usage = " ".join([name, *command.collect_usage_pieces(context)[1:]]).replace("{", "").replace("}", "")
    lines = [f"## `{usage}`", "", " ".join((command.help or "").split()), "", "| | |", "|---|---|"]
    for parameter in command.params:
        spelling, text = parameter.get_help_record(context)
        cells = (f"`{spelling}`", " ".join(text.split()))
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    page = Path(__file__).with_name("cli.md")
    page.write_text(reference())
    print(f"wrote {page}")
