"""Tokens, sessions and remembered answers in the database, on SQLite and on PostgreSQL; `hit token`."""

import json
import re
import subprocess
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from hit import cli
from hit.db import Answer, Database, Login, Token
from hit.db.schema import Changes
from hit.errors import NotFoundError, UserError
from hit.service.access import Access, Principal, csrf

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@pytest.fixture
def access(db: Database) -> Access:
    return Access(db)


def change(db: Database, statement: sa.Update) -> None:
    with db.write(content=False) as session:
        session.execute(statement)


def test_a_token_lets_in_whom_it_names(access: Access, db: Database) -> None:
    secret, token = access.create("ann", "reviewer")
    assert re.fullmatch(r"hit_[\w-]{43}", secret)
    who = access.verify(secret)
    assert who == Principal("ann", "reviewer", token.id, None, token.digest)
    assert [who.may(role) for role in ("viewer", "reviewer", "admin")] == [True, True, False]
    assert secret not in str([vars(one) for one in db.tokens()]) and secret[4:] not in str([vars(one) for one in db.tokens()])


@pytest.mark.parametrize(
    "wrong", ["", "hit_", "x", "hit_" + "a" * 43, "hit_" + "é" * 43, "hit_" + "a" * 42 + "\0", "' OR 1=1 --"]
)
def test_what_is_no_token_lets_nobody_in(access: Access, wrong: str) -> None:
    secret, token = access.create("ann", "admin")
    for text in (wrong, secret[:-1], secret + "a", secret.upper(), secret[4:], token.digest, f" {secret}"):
        assert access.verify(text) is None
        assert access.session(text) is None
        assert access.login(text) is None


def test_a_token_ends(access: Access, db: Database) -> None:
    secret, token = access.create("ann", "viewer", days=1)
    cookie, _, seconds = access.login(secret) or ("", None, 0.0)
    assert access.session(cookie) and seconds == pytest.approx(12 * 3600, abs=60)
    change(db, sa.update(Token).values(expires_at=NOW - timedelta(seconds=1)))
    assert (access.verify(secret), access.session(cookie), access.login(secret)) == (None, None, None)
    change(db, sa.update(Token).values(expires_at=NOW + timedelta(minutes=5)))
    assert access.verify(secret)
    assert 0 < (access.login(secret) or ("", None, 0.0))[2] < 301  # a session does not outlive its token
    assert token.expires_at is not None


def test_what_is_revoked_lets_nobody_in_anywhere(access: Access, db: Database, database_url: str, tmp_path: Path) -> None:
    other = Database(database_url, tmp_path)  # as another process has it
    secret, _ = access.create("ann", "viewer")
    elsewhere = Access(other)
    cookie, *_ = elsewhere.login(secret) or ("",)
    assert elsewhere.verify(secret) and elsewhere.session(cookie)
    access.revoke("ann")
    assert (elsewhere.verify(secret), elsewhere.session(cookie), elsewhere.login(secret)) == (None, None, None)
    access.revoke("ann")  # twice does no harm
    with pytest.raises(NotFoundError, match="there are: ann"):
        access.revoke("bob")
    again, token = access.create("ann", "viewer")  # its name may be had again, by another token
    assert access.verify(secret) is None and access.session(cookie) is None
    assert (access.verify(again) or Principal("", "viewer")).key == token.digest
    other.close()


def test_names_and_times_of_tokens_are_checked(access: Access) -> None:
    access.create("ann", "viewer")
    for given in [("ann", "viewer", None), ("", "viewer", None), ("a\nb", "viewer", None), ("b", "root", None)]:
        with pytest.raises(UserError):
            access.create(*given)  # type: ignore[arg-type]
    for days in (0.0, -1.0, float("nan"), float("inf"), 1e9):
        with pytest.raises(UserError):
            access.create("b", "viewer", days)


def test_a_session_ends(access: Access, db: Database) -> None:
    secret, _ = access.create("ann", "admin")
    cookie, who, _ = access.login(secret) or ("", None, 0.0)
    assert who and access.verify(cookie) is None  # a cookie is no token, and the reverse
    assert csrf(cookie) != csrf(secret) and cookie not in csrf(cookie)
    found = access.session(cookie)
    assert found and found.session and found.session != cookie and found.name == "ann"
    access.logout(found)
    assert access.session(cookie) is None
    old, *_ = access.login(secret) or ("",)
    change(db, sa.update(Login).values(expires_at=NOW - DAY))
    assert access.session(old) is None
    access.login(secret)  # which clears away what has ended
    with db.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Login)) == 1


def test_use_is_noted_once_a_minute_and_is_no_change_of_content(access: Access, db: Database) -> None:
    def changes() -> int:
        with db.read() as session:
            return session.scalar(sa.select(Changes.count)) or 0

    before = changes()
    secret, _ = access.create("ann", "viewer")
    who = access.verify(secret)
    assert who and access.due(who) and not access.due(who)
    access.note(who)
    (token,) = access.tokens()
    assert token.used_at and abs((token.used_at - datetime.now(UTC)).total_seconds()) < 60
    access.login(secret)
    assert changes() == before


def claim(key: str = "k", who: str = "ann", request: str = "r", at: datetime = NOW) -> Answer:
    return Answer(who=who, key=key, request=request, status=None, body=None, created_at=at)


def test_answers_are_remembered(db: Database) -> None:
    lost = timedelta(minutes=3)
    assert db.claim_answer(claim(), lost, DAY) is None
    there = db.claim_answer(claim(), lost, DAY)
    assert there is not None and there.status is None
    assert db.claim_answer(claim(who="bob"), lost, DAY) is None  # another's key is another key
    db.keep_answer(claim(), 201, {"text": '{"a": "é"}', "headers": {}})
    there = db.claim_answer(claim(at=NOW + 2 * lost), lost, DAY)
    assert there is not None and (there.status, there.body["text"]) == (201, '{"a": "é"}')
    assert db.claim_answer(claim(who="bob", at=NOW + 2 * lost), lost, DAY) is None  # the first was cut short
    assert db.claim_answer(claim(at=NOW + 2 * DAY), lost, DAY) is None  # forgotten
    db.drop_answer(claim())
    assert db.claim_answer(claim(), lost, DAY) is None


def test_hit_token(hit: Callable[..., "subprocess.CompletedProcess[str]"], own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = json.loads(hit("token", "create", own, "ann", "--role", "admin", "--days", 2, "--json").stdout)
    assert made["name"] == "ann" and made["role"] == "admin" and made["expires_at"]

    def here(*words: object) -> str:
        cli.app(["token", *map(str, words)], standalone_mode=False)
        return capsys.readouterr().out

    with closing(Database(f"sqlite:///{own / 'library.db'}", own)) as db:
        assert Access(db).verify(made["token"])
        here("revoke", own, "ann")
        assert Access(db).verify(made["token"]) is None
        (secret,) = here("create", own, "bob", "--role", "viewer").split()
        assert (Access(db).verify(secret) or Principal("", "admin")).role == "viewer"
    listed = here("list", own, "--json")
    assert [(one["name"], bool(one["revoked_at"])) for one in json.loads(listed)["tokens"]] == [("ann", True), ("bob", False)]
    assert secret not in listed and made["token"] not in listed
    assert "bob" in here("list", own)
    with pytest.raises(NotFoundError, match="there are: ann, bob"):
        here("revoke", own, "eve")
