"""The commands that serve a library: serve, token."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from hit.door import LibraryFolder, emit, remark

serving = typer.Typer()


@serving.command()
def serve(
    folder: LibraryFolder,
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Settings, instead of LIB/serve.toml's; docs/serve.md."),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen at; all but this machine's own take tokens.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen at; 0 takes one that is free.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="How many processes answer.")] = None,
    root: Annotated[list[Path] | None, typer.Option(metavar="DIR", help="A folder whose videos may be added by path.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Only look at the settings, print all of them, and leave.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line, {url, pid, workers}, when requests are answered.")
    ] = False,
) -> None:
    """Serve a library: an API for programs, and pages for people. SIGTERM or Ctrl-C ends it, after what it is answering."""
    from hit import settings as libraries
    from hit.service import config

    given = {"host": host, "port": port, "workers": workers}
    told = [*(settings or []), *(f"{key}={value}" for key, value in given.items() if value is not None)]
    if root:
        told.append(f"roots={[str(one.absolute()) for one in root]}")
    libraries.read(folder)
    found = config.read(folder, told)
    from hit.api import run  # after what may be wrong with the settings: it takes a while to load

    if check:
        run.listen(found.host, found.port).close()
        emit(dataclasses.asdict(found), as_json, _show_settings)
        return

    def ready(url: str) -> None:
        if as_json:
            print(f'{{"url": "{url}", "pid": {os.getpid()}, "workers": {found.workers}}}', flush=True)
        remark(f"{url} answers{'' if config.guarded(found) else ', to whoever is at this machine'} (Ctrl-C ends it)")

    raise typer.Exit(run.serve(folder, found, ready=ready))


def _show_settings(result: Mapping[str, Any]) -> None:
    from hit.console import table

    table("Settings", ["name", "value"], [[name, str(value)] for name, value in result.items()])
