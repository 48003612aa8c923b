"""The chain of decisions: whatever is done to a row shows, the database refuses it, and people can be forgotten all the same."""

import csv
import io
import itertools
import json
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from hit.db import Base, Case, Database, Decision, chain, upkeep
from hit.db.decisions import Ruling
from hit.review import verify
from hit.review.export import FIELDS, lines
from hit.review.stats import stats
from postgres import Postgres
from review_helpers import ask, claimed, judge, new

LINKS = sa.inspect(Decision).columns
NAMES: list[str] = list(LINKS.keys())
BLANKED = ("reviewer", "note", "salt", "evidence")


def history(db: Database) -> None:
    """Decide, disagree, appeal, reopen, decide at once and undo: a link of each kind."""
    db.golden_share = 0.0
    ask(db, new("a", seats=2), new("b"), new("c"), new("d"))
    judge(db, "ann", "block", note="ann's own words", evidence=["a-0"], seconds=1.5)
    judge(db, "ann", "pass", seconds=0.1 + 0.2)
    judge(db, "bob", "pass", note="")
    judge(db, "sue", "block", senior=True, reason="ünï 日 \0 zero")
    db.appeal_case(2, "ann", "no")
    judge(db, "kim", "block", senior=True)
    batch, _ = db.decide_cases([3, 4], "sue", "pass", "all")
    db.undo_batch(batch, "kim", "too many")
    db.reopen_case(1, "kim", "again")
    judge(db, "eve", "pass")


@pytest.fixture
def told(db: Database) -> Database:
    history(db)
    return db


def unguard(session: Session) -> None:
    """Do as whoever owns the database can: drop what refuses."""
    on = " ON decisions" if session.get_bind().dialect.name == "postgresql" else ""
    for name in ("decisions_stay", "decisions_last"):
        session.execute(sa.text(f"DROP TRIGGER {name}{on}"))


def found_after(db: Database, *statements: str, **values: Any) -> list[str]:
    """Return what is found after somebody has done something, which is then taken back."""
    with db.write(content=False) as session:
        unguard(session)
        session.expire_all()
        for statement in statements:
            session.execute(sa.text(statement), values)
        found = list(chain.findings(session))
        session.rollback()
    return found


def other(name: str, value: Any) -> list[Any]:
    """Return other values for a column that has this one."""
    kind = LINKS[name].type
    if name == "at":
        return ["2026-01-01 00:00:00.000000", "2020-01-01 00:00:00.000001"]
    if name == "evidence":
        return ['["x"]', "[]" if value else '["a-0", "a-0"]']
    if name in ("kind", "action"):
        choices = ("decide", "uphold", "overturn", "appeal", "reopen", "undo") if name == "kind" else ("pass", "block", None)
        return [one for one in choices if one != value]
    if isinstance(kind, sa.Integer):
        return [(value or 0) + 100]
    if isinstance(kind, sa.Double):
        return [(value or 0.0) + 1e-9, None if value is not None else 0.0]
    return [f"{value or ''}x"] + ([] if value == "" else [""]) + ([None] if LINKS[name].nullable and value is not None else [])


def test_each_change_of_a_field_is_found(told: Database) -> None:
    """Of every link, every column: but for blanking what may be blanked."""
    rows = told.history(1) + told.history(2)
    tried = 0
    for link, name in itertools.product(rows, NAMES):
        for value in other(name, getattr(link, name)):
            if value is None and name in ("note", "evidence"):  # as `hit review prune` does
                continue
            statement = f"UPDATE decisions SET {name} = :value WHERE number = :number"
            assert found_after(told, statement, value=value, number=link.number), (link.number, name, value)
            tried += 1
    assert tried > 200
    assert verify(told)["sound"]


def test_links_that_go_come_or_change_places_are_found(told: Database) -> None:
    count = verify(told)["decisions"]
    for number in range(1, count + 1):
        assert found_after(told, "DELETE FROM decisions WHERE number = :n", n=number), "one"
        assert found_after(told, "DELETE FROM decisions WHERE number >= :n", n=number), "the tail"
    for one, two in itertools.pairwise(range(1, count + 1)):
        swap = [f"UPDATE decisions SET number = {new} WHERE number = {old}" for old, new in ((one, -1), (two, one), (-1, two))]
        assert found_after(told, *swap)
    names = ", ".join(name for name in NAMES if name not in ("number", "claim"))
    forged = f"INSERT INTO decisions (number, {names}) SELECT {count + 1}, {names} FROM decisions WHERE number = {count}"
    assert found_after(told, forged)
    assert found_after(told, forged, f"UPDATE chain SET number = {count + 1}")
    for statement in ("DELETE FROM chain", "UPDATE chain SET hash = ''", "UPDATE chain SET number = number - 1"):
        assert found_after(told, statement)
    assert found_after(told, "DELETE FROM decisions", "UPDATE chain SET number = 0, hash = ''"), "seats are done without a link"


def test_a_chain_made_anew_is_told_by_a_hash_that_was_noted(told: Database) -> None:
    head = verify(told)["head"]
    assert verify(told, head)["sound"]
    with told.write(content=False) as session:
        unguard(session)
        before = ""
        for link in session.scalars(sa.select(Decision).order_by(Decision.number)):
            if link.number == 1:
                link.action = "pass"
            link.before = before
            link.hash = before = chain.link_hash(link)
        session.execute(sa.text("UPDATE chain SET hash = :hash"), {"hash": before})
    assert verify(told)["sound"], "it is one as good as another"
    assert verify(told, head)["findings"] == [f"no link has the hash {head}, which was noted before"]


def test_the_database_itself_refuses(told: Database) -> None:
    def refused(statement: str) -> None:
        with pytest.raises(sa.exc.DBAPIError, match="decisions are never changed"), told.write(content=False) as session:
            session.execute(sa.text(statement))

    refused("DELETE FROM decisions WHERE number = 1")
    refused("DELETE FROM decisions")
    for name, column in LINKS.items():
        if name not in BLANKED:
            text = isinstance(column.type, sa.String)
            value = "'2020-01-01'" if name == "at" else "'block'" if name == "action" else "'undo'" if text else "77"
            refused(f"UPDATE decisions SET {name} = {value} WHERE number = 2")
        else:
            value = """'["x"]'""" if name == "evidence" else "'x'"
            refused(f"UPDATE decisions SET {name} = {value} WHERE number = 2")
    if told._engine.dialect.name == "postgresql":
        refused("TRUNCATE decisions")
    with told.write(content=False) as session:
        session.execute(sa.text("UPDATE decisions SET reviewer = NULL, note = NULL, salt = NULL, evidence = NULL"))
    assert verify(told)["sound"]


def everything(db: Database) -> str:
    """Return all that the database holds, as text."""
    with db.read() as session:
        return json.dumps(
            [[*map(str, row)] for table in Base.metadata.sorted_tables for row in session.execute(sa.select(table))]
        )


def test_a_person_is_forgotten_and_the_chain_verifies(told: Database) -> None:
    seat = claimed(told, "ann")
    told.skip_seat(seat.id, seat.claim or "", "ann", "ann knows them")
    head, size = verify(told)["head"], len(told.history(1))
    assert '"ann"' in everything(told)
    assert told.erase_person("ann") == 3
    assert '"ann"' not in everything(told) and "ann's own words" not in everything(told) and "ann knows" not in everything(told)
    assert verify(told, head)["sound"] and len(told.history(1)) == size
    assert told.erase_person("ann") == 0
    assert "ann" not in {one["name"] for one in stats(told)["reviewers"]} and stats(told)["decided"] == 8
    judge(told, "bob", "pass")
    assert verify(told, head)["sound"]


def test_old_cases_keep_their_decisions_only(told: Database) -> None:
    head, later = verify(told)["head"], told.clock.now() + timedelta(days=1)
    assert told.prune_cases(told.clock.now() - timedelta(days=1)) == 0
    assert told.prune_cases(later) == 2, "those that are closed"
    assert told.prune_cases(later) == 0
    assert verify(told, head)["sound"]
    with told.read() as session:
        rows = {case.id: (case.title, case.evidence) for case in session.scalars(sa.select(Case))}
        assert rows[2] == ("", []) and rows[4][0] == "the title of d"
        for link in session.scalars(sa.select(Decision)):
            assert (link.evidence is None and link.note is None) == (link.case_id in (2, 3)), link.number
            assert link.reviewer


def test_a_pruned_case_can_be_reopened(told: Database) -> None:
    told.prune_cases(told.clock.now() + timedelta(days=1))
    told.reopen_case(2, "kim", "after all")
    judge(told, "bob", "block")
    assert verify(told)["sound"]


def test_a_copy_verifies_and_is_guarded(told: Database, tmp_path: Path, database_url: str, request: Any) -> None:
    """As backup and restore copy: from each kind of database to each."""
    server: Postgres = request.getfixturevalue("postgres")
    head = verify(told)["head"]
    for url in (f"sqlite:///{tmp_path / 'copy.db'}", server.database()):
        with closing(Database(url, tmp_path)) as copy:
            with upkeep.snapshot(told) as session:
                upkeep.copy(session, copy, lambda _: None)
            assert verify(copy, head)["sound"]
            assert everything(copy).count("ann's own words") == 1
            judge(copy, "bob", "pass")
            assert verify(copy, head) == verify(copy)
            with pytest.raises(sa.exc.DBAPIError, match="never changed"), copy.write(content=False) as changed:
                changed.execute(sa.text("DELETE FROM decisions"))


def test_a_decision_that_fails_leaves_no_link(told: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    seat, before = claimed(told, "bob"), verify(told)

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hit.db.decisions.put_event", fail)
    with pytest.raises(KeyboardInterrupt):
        told.decide_seat(seat.id, seat.claim or "", "bob", Ruling("pass", "r"))
    assert verify(told) == before and told.held_seat(seat.id, "bob").claim == seat.claim


# -- export


def test_export_is_the_chain(told: Database) -> None:
    rows = [json.loads(line) for line in lines(told, "jsonl")]
    assert [row["number"] for row in rows] == list(range(1, 13))
    assert rows[0]["evidence"] == ["a-0"] and rows[0]["reviewer"] == "ann" and rows[-1]["hash"] == verify(told)["head"]
    assert rows[1]["seconds"] == 0.1 + 0.2
    table = list(csv.DictReader(io.StringIO("".join(lines(told, "csv")))))
    assert [row["hash"] for row in table] == [row["hash"] for row in rows]
    assert tuple(table[0]) == FIELDS


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x")', "a,b\nc"])
def test_no_cell_of_a_csv_is_a_formula(tmp_path: Path, text: str, formulas: Database) -> None:
    ask(formulas, new(f"v{hash(text)}"))
    seat = claimed(formulas, "=ann")
    formulas.decide_seat(seat.id, seat.claim or "", "=ann", Ruling("pass", text, note=text))
    *_, row = csv.DictReader(io.StringIO("".join(lines(formulas, "csv"))))
    for name in ("reason", "note", "reviewer"):
        assert not row[name].startswith(("=", "+", "-", "@", "\t", "\r", "\n")), row[name]
    assert text.replace("\r", "\n").strip("'\n\t") in row["reason"].replace("\r", "\n")


@pytest.fixture(scope="module")
def formulas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    folder = tmp_path_factory.mktemp("formulas")
    with closing(Database(f"sqlite:///{folder / 'library.db'}", folder)) as db:
        yield db
