"""The commands of the bank of known clips, and of webhooks: bank, webhook."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from hit.cli_moderation import opened, who
from hit.door import Json, LibraryFolder, emit, remark

banks = typer.Typer(help="Look after the bank of clips that are known to be bad.", no_args_is_help=True)
hooks = typer.Typer(help="Have other programs told of verdicts, decisions and changes of policies.", no_args_is_help=True)


@banks.command("add")
def ban(
    folder: LibraryFolder,
    video: Annotated[str, typer.Argument(metavar="VIDEO", help="A video of the library, by its path or id; film.mp4#t=10,20.")],
    note: Annotated[str, typer.Option(help="Why it is known.")] = "",
    as_json: Json = False,
) -> None:
    """Have a video, or a stretch of it, be known from now on, also when it is gone; the library is judged by it at once."""
    from hit import analysis, moderation
    from hit.console import Bars
    from hit.moderation import bank
    from hit.upkeep import remove

    path, (start, end) = analysis.stretch(video)
    with opened(folder) as library:
        (found, *_) = remove.videos(library, [path])
        made = bank.add(library, found, note, who(), start, end)
        result = {**bank.to_json(made), "judged": moderation.judge(library, progress=Bars())}
    emit(result, as_json, lambda one: _show_bank({"bank": [one]}))


@banks.command("list")
def banned(folder: LibraryFolder, as_json: Json = False) -> None:
    """List what is known to be bad."""
    from hit.moderation import bank

    with opened(folder) as library:
        emit({"bank": [bank.to_json(one) for one in library.db.bank()]}, as_json, _show_bank)


@banks.command("remove")
def unban(
    folder: LibraryFolder,
    number: Annotated[int, typer.Argument(metavar="ID", help="Its number, as `hit bank list` has it.")],
    as_json: Json = False,
) -> None:
    """Take something from the bank; the library is judged without it at once."""
    from hit import moderation
    from hit.console import Bars

    with opened(folder) as library:
        library.db.unban(number)
        judged = moderation.judge(library, progress=Bars())
    emit({"removed": number, "judged": judged}, as_json, lambda one: remark(f"{one['removed']} is not in the bank any more"))


# -- webhooks


@hooks.command("add")
def add_hook(
    folder: LibraryFolder,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called.")],
    url: Annotated[str, typer.Argument(metavar="URL", help="Where events are sent.")],
    event: Annotated[
        list[str] | None, typer.Option(help="Send only these: verdict.changed, case.decided, policy.changed. Repeatable.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Have events sent to an address, and print the secret that they are signed with, once."""
    from hit.moderation import webhooks
    from hit.service import config

    private = config.read(folder).allow_private
    with opened(folder) as library:
        made = webhooks.add(library, name, url, event or [], who(), private)
    emit(made, as_json, _show_secret)


@hooks.command("list")
def list_hooks(
    folder: LibraryFolder,
    dead: Annotated[bool, typer.Option("--dead", help="List the deliveries that were given up instead.")] = False,
    as_json: Json = False,
) -> None:
    """List webhooks, and how much is on its way to each."""
    from hit.moderation import webhooks

    with opened(folder) as library:
        if dead:
            found = [webhooks.delivery_json(one) for one in library.db.deliveries("dead", 1000)]
            emit({"deliveries": found}, as_json, _show_deliveries)
        else:
            emit({"webhooks": webhooks.listed(library)}, as_json, _show_hooks)


@hooks.command("remove")
def remove_hook(
    folder: LibraryFolder,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called.")],
    as_json: Json = False,
) -> None:
    """Send nothing there any more."""
    with opened(folder) as library:
        library.db.drop_endpoint(name)
    emit({"removed": name}, as_json, lambda one: remark(f"nothing is sent to '{one['removed']}' any more"))


@hooks.command("test")
def test_hook(
    folder: LibraryFolder,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called.")],
    as_json: Json = False,
) -> None:
    """Send an event that says nothing, and all else that is due."""
    with opened(folder) as library:
        library.db.test_endpoint(name)
    _send(folder, as_json)


@hooks.command()
def send(
    folder: LibraryFolder,
    retry: Annotated[list[int] | None, typer.Option(metavar="ID", help="Try this delivery again that was given up.")] = None,
    as_json: Json = False,
) -> None:
    """Send what is due; a served library does it by itself."""
    with opened(folder) as library:
        for number in retry or []:
            library.db.retry_delivery(number)
    _send(folder, as_json)


def _send(folder: Path, as_json: bool) -> None:
    from hit.moderation.sending import send_due
    from hit.service import config

    private = config.read(folder).allow_private
    with opened(folder) as library:
        counts = send_due(library, private)
    words = "{sent} sent, {failed} to be tried again, {dead} given up"
    emit(counts, as_json, lambda one: remark(words.format(**one)))


def _show_bank(result: Mapping[str, Any]) -> None:
    from hit.console import table

    rows = [
        [one["id"], one["title"], one["frames"], one["note"], one["by"], f"{one['added_at']:%Y-%m-%d}"] for one in result["bank"]
    ]
    table("Known clips", ["id", "title", "frames", "note", "by", "added"], rows)


def _show_secret(result: Mapping[str, Any]) -> None:
    remark(f"the secret of the webhook '{result['name']}', which is not shown again:")
    print(result["secret"])


def _show_hooks(result: Mapping[str, Any]) -> None:
    from hit.console import table

    rows = [
        [one["name"], one["url"], ", ".join(one["events"]) or "all", one["queued"], one["dead"]] for one in result["webhooks"]
    ]
    table("Webhooks", ["name", "url", "events", "queued", "dead"], rows)


def _show_deliveries(result: Mapping[str, Any]) -> None:
    from hit.console import table

    rows = [[one["id"], one["webhook"], one["event"], one["tries"], one["error"]] for one in result["deliveries"]]
    table("Given up", ["id", "webhook", "event", "tries", "why"], rows)
