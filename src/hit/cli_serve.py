"""The commands that serve a library: serve, token, doctor."""

import dataclasses
import json
import os
import sys
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

Role = Literal["viewer", "reviewer", "senior", "admin"]
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
    libraries.found(folder)
    found = config.read(folder, told)
    if check:
        emit(dataclasses.asdict(found), as_json, _show_settings)
        return

    from hit.api import run  # after what may be wrong with the settings: it takes a while to load

    def ready(url: str) -> None:
        if as_json:
            print(json.dumps({"url": url, "pid": os.getpid(), "workers": found.workers}), flush=True)
        whom = "whoever has a token" if config.guarded(found) else "whoever is at this machine"
        remark(f"{url} answers {whom} (Ctrl-C ends it)")

    if config.guarded(found):
        with _access(folder) as access:
            if not access.admitted():
                remark(f"nobody has a token yet; make one with `hit token create {folder} NAME --role admin`")

    raise typer.Exit(run.serve(folder, found, ready=ready))


def _show_settings(result: Mapping[str, Any]) -> None:
    from hit.console import table

    table("Settings", ["name", "value"], [[name, str(value)] for name, value in result.items()])


@serving.command()
def doctor(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[LIB]", help="A library folder; without it, only hit.toml's parts.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=1.0, help="How long to wait for a part to answer.")] = 30.0,
    as_json: Json = False,
) -> None:
    """Look at every part of the deployment that hit.toml describes, and say how each is. Exit code 1 where one fails."""
    from hit import doctor as verb

    result = verb.examine(folder, seconds)
    emit(result, as_json, _show_findings)
    sys.stdout.flush()
    if not result["sound"]:
        raise typer.Exit(1)


def _show_findings(result: Mapping[str, Any]) -> None:
    from hit.console import say, table

    words = {"ok": "ok", "warn": "warn", "fail": "FAIL"}
    rows = [[words[one["state"]], one["part"], one["what"], one["mend"]] for one in result["findings"]]
    table("Findings", ["", "part", "what", "what mends it"], rows)
    counts = {state: sum(one["state"] == state for one in result["findings"]) for state in words}
    say(f"{counts['ok']} parts are well, {counts['warn']} are to be looked after, {counts['fail']} fail")


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
