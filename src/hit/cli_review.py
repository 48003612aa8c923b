"""The commands of review: `hit review ...`. Whoever can write to a library's folder may do all of it, under any name."""

import getpass
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hit.door import Json, LibraryFolder, emit, remark
from hit.errors import UserError

if TYPE_CHECKING:
    from hit.db import Assignment, Decision
    from hit.library import Library

reviewing = typer.Typer(help="Judge what policies ask about, and look after the decisions.", no_args_is_help=True)
Action = Literal["pass", "block"]
Person = Annotated[str, typer.Option("--as", metavar="NAME", help="Who does it; without it, whoever is logged in here.")]
Seat = Annotated[int, typer.Argument(metavar="ASSIGNMENT", help="Its number, as `claim` said.")]
Claim = Annotated[str, typer.Argument(metavar="CLAIM", help="What `claim` said beside the number.")]
Case = Annotated[int, typer.Argument(metavar="CASE", help="A case's number.")]
Reason = Annotated[str, typer.Option(help="Why; it stays for good, so name nobody.")]
OnlyPolicy = Annotated[str | None, typer.Option("--policy", help="Only what this policy asks about.")]


@reviewing.command()
def queue(folder: LibraryFolder, as_json: Json = False) -> None:
    """Show what waits, by policy and severity."""
    with _open(folder) as library:
        now = library.db.clock.now()
        rows = [
            {
                "policy": one.policy,
                "severity": one.severity,
                "open": one.open,
                "held": one.held,
                "oldest_seconds": round((now - one.oldest).total_seconds(), 3) if one.oldest else None,
            }
            for one in library.db.waiting()
        ]
    totals = {name: sum(int(row[name] or 0) for row in rows) for name in ("open", "held")}
    emit({**totals, "policies": rows}, as_json, _show_queue)


@reviewing.command()
def claim(
    folder: LibraryFolder,
    policy: OnlyPolicy = None,
    severity_min: Annotated[int, typer.Option(min=0, max=5, help="Only what is as severe as this.")] = 0,
    senior: Annotated[bool, typer.Option("--senior", help="Also what takes a senior: disagreements and appeals.")] = False,
    hold: Annotated[int, typer.Option(min=1, max=3, help="How many cases may be held at once.")] = 1,
    person: Person = "",
    as_json: Json = False,
) -> None:
    """Take the case that comes first, for as long as the lease lasts, and show it; exit code 1 where none waits."""
    from hit.db.queue import Wanted

    with _open(folder) as library:
        seat = library.db.claim_seat(_who(person), Wanted(policy, severity_min, senior), hold)
        result = {"assignment": None} if seat is None else _seat(library, seat)
    emit(result, as_json, _show_seat)
    if seat is None:
        raise typer.Exit(1)


@reviewing.command()
def decide(
    folder: LibraryFolder,
    number: Seat,
    nonce: Claim,
    action: Annotated[Action, typer.Argument(help="What is to become of the video.")],
    reason: Reason,
    note: Annotated[str | None, typer.Option(help="For seniors; it can be removed later.")] = None,
    evidence: Annotated[list[str] | None, typer.Option(metavar="SEGMENT", help="A segment that shows it.")] = None,
    person: Person = "",
    as_json: Json = False,
) -> None:
    """Decide a case that one holds. The same again is answered the same."""
    from hit.db.decisions import Ruling
    from hit.review.cases import check_evidence

    with _open(folder) as library:
        check_evidence(library.db, number, evidence or [])
        ruling = Ruling(action, reason, note, evidence or [])
        link, outcome = library.db.decide_seat(number, nonce, _who(person), ruling)
    emit({"decision": _link(link), "outcome": outcome}, as_json, _show_outcome)


@reviewing.command()
def skip(folder: LibraryFolder, number: Seat, nonce: Claim, reason: Reason, person: Person = "", as_json: Json = False) -> None:
    """Leave a case that one holds to others: it is not offered again."""
    with _open(folder) as library:
        library.db.skip_seat(number, nonce, _who(person), reason)
    emit({"skipped": number}, as_json, lambda _: remark("somebody else will judge it"))


@reviewing.command()
def release(folder: LibraryFolder, number: Seat, nonce: Claim, person: Person = "", as_json: Json = False) -> None:
    """Give a case that one holds back to the queue."""
    with _open(folder) as library:
        library.db.release_seat(number, nonce, _who(person))
    emit({"released": number}, as_json, lambda _: remark("it is in the queue again"))


@reviewing.command()
def appeal(folder: LibraryFolder, number: Case, reason: Reason, person: Person = "", as_json: Json = False) -> None:
    """Have a decided case judged by a senior who has not judged it."""
    with _open(folder) as library:
        link = library.db.appeal_case(number, _who(person), reason)
    emit({"decision": _link(link)}, as_json, lambda _: remark(f"a senior will judge case {number}"))


@reviewing.command()
def reopen(folder: LibraryFolder, number: Case, reason: Reason, person: Person = "", as_json: Json = False) -> None:
    """Have a decided case judged anew, by others."""
    with _open(folder) as library:
        link = library.db.reopen_case(number, _who(person), reason)
    emit({"decision": _link(link)}, as_json, lambda _: remark(f"case {number} is open again"))


@reviewing.command()
def golden(
    folder: LibraryFolder,
    video: Annotated[str, typer.Argument(metavar="VIDEO", help="A video by its path or id.")],
    policy: Annotated[str, typer.Option(help="The policy under which the answer is known.")],
    answer: Annotated[Action, typer.Option(help="The answer.")],
    as_json: Json = False,
) -> None:
    """Mix a video whose answer is known into what reviewers judge, to see how they do."""
    from hit.review import cases as verb

    with _open(folder) as library:
        docket = verb.golden(library, library.db.named(video) or video, policy, answer)
    case = docket.case
    result = {"case": case.id, "video": case.video_id, "policy": case.policy, "answer": case.golden}
    emit(result, as_json, lambda _: remark(f"case {case.id} tests whoever judges it: {answer}"))


@reviewing.command()
def stats(
    folder: LibraryFolder,
    policy: OnlyPolicy = None,
    days: Annotated[float | None, typer.Option(min=0.0, help="Only what was decided in so many days.")] = None,
    as_json: Json = False,
) -> None:
    """Show how review goes: how right policies are, how far people agree, how long it takes. Formulas: docs/review.md."""
    from hit.review.stats import stats as verb

    with _open(folder) as library:
        emit(verb(library.db, policy, days), as_json, _show_stats)


@reviewing.command()
def verify(
    folder: LibraryFolder,
    head: Annotated[str, typer.Option(metavar="HASH", help="The hash of a link, noted before, that must be there still.")] = "",
    as_json: Json = False,
) -> None:
    """Check the chain of decisions: exit code 1 where somebody has changed, removed, moved or added something."""
    from hit.review import verify as verb

    with _open(folder) as library:
        result = verb(library.db, head)
    emit(result, as_json, _show_verify)
    if not result["sound"]:
        raise typer.Exit(1)


@reviewing.command()
def export(
    folder: LibraryFolder,
    out: Annotated[Path, typer.Argument(metavar="FILE", help="Ends in .csv or .jsonl; it is replaced.")],
    as_json: Json = False,
) -> None:
    """Write the chain of decisions, the oldest first. A csv is safe to open: nothing in it is a formula."""
    from hit import files
    from hit.review.export import lines

    form = out.suffix.removeprefix(".")
    if form not in ("csv", "jsonl"):
        raise UserError(out, "is named like neither of the forms", "end it in .csv or .jsonl")
    count = 0
    with (
        _open(folder) as library,
        files.room(out),
        files.beside(out) as part,
        part.open("w", encoding="utf-8", newline="") as file,
    ):
        for line in lines(library.db, form):  # type: ignore[arg-type]  # one of both
            file.write(line)
            count += 1
    count -= form == "csv"
    emit({"out": str(out), "decisions": count}, as_json, lambda _: remark(f"{count} decisions are in {out}"))


@reviewing.command()
def erase(
    folder: LibraryFolder, person: Annotated[str, typer.Argument(metavar="NAME", help="Whose.")], as_json: Json = False
) -> None:
    """Blank a person's name and notes in all decisions, for good. The chain verifies as before."""
    with _open(folder) as library:
        count = library.db.erase_person(person)
    emit({"erased": count}, as_json, lambda _: remark(f"the name is gone from {count} decisions"))


@reviewing.command()
def prune(
    folder: LibraryFolder,
    older: Annotated[float, typer.Option(metavar="DAYS", min=0, help="Closed for at least so long.")],
    as_json: Json = False,
) -> None:
    """Blank titles, evidence and notes of cases that are closed, for good. The chain verifies as before."""
    from datetime import timedelta

    with _open(folder) as library:
        count = library.db.prune_cases(library.db.clock.now() - timedelta(days=older))
    emit({"pruned": count}, as_json, lambda _: remark(f"{count} cases keep their decisions only"))


@contextmanager
def _open(folder: Path) -> "Iterator[Library]":
    from hit.library import Library

    with Library.open(folder, mend=False) as library:
        yield library


def _who(person: str) -> str:
    return person or getpass.getuser()


def _seat(library: "Library", seat: "Assignment") -> dict[str, Any]:
    case = library.db.case(seat.case_id).case
    shown = {"case": case.id, "policy": case.policy, "version": case.version, "severity": case.severity}
    shown |= {"video": case.video_id, "title": case.title, "evidence": list(case.evidence)}
    return {"assignment": seat.id, "claim": seat.claim, "seat": seat.seat, "lease_until": seat.until, **shown}


def _link(link: "Decision") -> dict[str, Any]:
    names = ("number", "case_id", "kind", "seat", "action", "reason", "at", "reviewer", "hash")
    return {name: getattr(link, name) for name in names}


def _show_queue(result: Mapping[str, Any]) -> None:
    from hit.console import table

    columns = ["policy", "severity", "open", "held", "oldest_seconds"]
    table(
        f"{result['open']} seats are open, {result['held']} held",
        columns,
        [[row[c] for c in columns] for row in result["policies"]],
    )


def _show_seat(result: Mapping[str, Any]) -> None:
    from hit.console import say, table

    if result["assignment"] is None:
        remark("nothing waits")
        return
    say(f"case {result['case']}: {result['title']} ({result['video']}), by {result['policy']} {result['version']}")
    rows = [[one["segment_id"], one["start"], one["end"], one["score"]] for one in result["evidence"]]
    table("Evidence", ["segment", "start", "end", "score"], rows)
    words = f"hit review decide LIB {result['assignment']} {result['claim']} pass|block --reason ..."
    say(f"yours until {result['lease_until']}: {words}")


def _show_outcome(result: Mapping[str, Any]) -> None:
    remark(f"decision {result['decision']['number']} is in the chain; the case: {result['outcome']}")


def _show_stats(result: Mapping[str, Any]) -> None:
    from hit.console import say, table

    def shown(share: Mapping[str, Any], name: str = "estimate") -> str:
        return "" if share[name] is None else f"{share[name]:.3f} ({share['low']:.3f} to {share['high']:.3f})"

    say(f"{result['decided']} decisions; {result['queue']['open']} seats open, {result['queue']['held']} held")
    kappa = result["agreement"]["kappa"]
    say(f"{result['agreement']['pairs']} pairs of blind reviewers" + ("" if kappa is None else f", Cohen's kappa {kappa:.3f}"))
    say(f"{result['overturned']['appeals']} appeals decided, overturned: {shown(result['overturned'], 'rate') or 'none'}")
    say(f"{result['golden']['seen']} known answers asked, right: {shown(result['golden'], 'share') or 'none'}")
    rows = [[r["policy"], r["version"], r["decided"], shown(r["precision"]), shown(r["recall"])] for r in result["policies"]]
    table("Policies, with 95 % intervals", ["policy", "version", "decided", "precision", "recall"], rows)
    names = ["name", "decided", "median_seconds", "golden_share"]
    table("Reviewers", names, [[row[name] for name in names] for row in result["reviewers"]])


def _show_verify(result: Mapping[str, Any]) -> None:
    for line in result["findings"]:
        print(line)
    remark(
        f"{result['decisions']} decisions, {'sound' if result['sound'] else 'NOT sound'}; the newest: {result['head'] or 'none'}"
    )
