"""The commands that serve a library: serve, token."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hit.door import Json, LibraryFolder, emit, remark

if TYPE_CHECKING:
    from hit.db import Token
    from hit.service.access import Access

Role = Literal["viewer", "reviewer", "admin"]
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


tokens = typer.Typer(help="Say who may use a served library: make, list and revoke tokens.", no_args_is_help=True)


@tokens.command()
def create(
    folder: LibraryFolder,
    name: Annotated[str, typer.Argument(help="Whose it is, or what for: a name that the log shows.")],
    role: Annotated[Role, typer.Option(help="viewer: looks and searches; reviewer: also tags and saves; admin: everything.")],
    days: Annotated[float | None, typer.Option(help="How long it lets somebody in; without it, until it is revoked.")] = None,
    as_json: Json = False,
) -> None:
    """Make a token and print its secret, once: only a hash of it is kept."""
    with _access(folder) as access:
        secret, token = access.create(name, role, days)
    emit({**_row(token), "token": secret}, as_json, _show_secret)


@tokens.command("list")
def list_(folder: LibraryFolder, as_json: Json = False) -> None:
    """List all tokens, the revoked ones too, and when each was last used."""
    with _access(folder) as access:
        emit({"tokens": [_row(token) for token in access.tokens()]}, as_json, _show_tokens)


@tokens.command()
def revoke(folder: LibraryFolder, name: Annotated[str, typer.Argument(help="Its name.")], as_json: Json = False) -> None:
    """Have a token, and whoever logged in with it, let in no more: at once, by servers that run too."""
    with _access(folder) as access:
        access.revoke(name)
    emit({"revoked": name}, as_json, lambda result: remark(f"the token '{result['revoked']}' lets nobody in any more"))


@contextmanager
def _access(folder: Path) -> "Iterator[Access]":
    from hit.library import Library
    from hit.service.access import Access

    with Library.open(folder, mend=False) as library:
        yield Access(library.db)


def _row(token: "Token") -> dict[str, Any]:
    times = ("created_at", "expires_at", "revoked_at", "used_at")
    return {"name": token.name, "role": token.role, **{name: getattr(token, name) for name in times}}


def _show_secret(result: Mapping[str, Any]) -> None:
    remark(f"the {result['role']} token '{result['name']}', which is not shown again:")
    print(result["token"])


def _show_tokens(result: Mapping[str, Any]) -> None:
    from hit.console import table

    def day(time: datetime | None) -> str:
        return f"{time:%Y-%m-%d %H:%M}" if time else ""

    times = ("created_at", "expires_at", "revoked_at", "used_at")
    rows = [[row["name"], row["role"], *(day(row[name]) for name in times)] for row in result["tokens"]]
    table("Tokens (times are UTC)", ["name", "role", "made", "expires", "revoked", "last used"], rows)
