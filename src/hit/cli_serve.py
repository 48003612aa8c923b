"""The commands that serve a library: serve, token."""

from pathlib import Path
from typing import Annotated

import typer

from hit.door import LibraryFolder, remark

serving = typer.Typer()


@serving.command()
def serve(
    folder: LibraryFolder,
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Settings, instead of LIB/serve.toml's; docs/deploy.md."),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen at; all but this machine's own take tokens.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen at.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="How many processes answer.")] = None,
    root: Annotated[list[Path] | None, typer.Option(metavar="DIR", help="A folder whose videos may be added by path.")] = None,
) -> None:
    """Serve a library: an API for programs, and pages for people."""
    from hit.api.run import serve as verb
    from hit.service import config

    given = {"host": host, "port": port, "workers": workers}
    told = [*(settings or []), *(f"{key}={value}" for key, value in given.items() if value is not None)]
    if root:
        told.append(f"roots={[str(one.absolute()) for one in root]}")
    found = config.read(folder, told)
    remark(f"http://{found.host}:{found.port}/ (Ctrl-C ends it)")
    verb(folder, found)
