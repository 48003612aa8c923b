"""What lets people and programs in, and what was answered to them before. Secrets are never here: only their hashes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from hit.db.schema import Answer, Login, Token
from hit.db.session import Sessions
from hit.db.setup import complaints
from hit.errors import UserError

# Asked with each request, so without the unit of work that sessions bring: a quarter of the time.
_PASS = sa.select(Token.id, Token.name, Token.role, Token.digest, Token.expires_at, Token.revoked_at)
_BY_DIGEST = _PASS.where(Token.digest == sa.bindparam("digest"))
_BY_LOGIN = _PASS.join(Login, Login.token_id == Token.id).where(
    Login.digest == sa.bindparam("digest"), Login.expires_at > sa.bindparam("now")
)


@dataclass(frozen=True, slots=True)
class Pass:
    """What is known of a token that somebody shows."""

    id: int
    name: str
    role: str
    digest: str
    expires_at: datetime | None
    revoked_at: datetime | None


class AccessRecords(Sessions):
    """The part of a Database that holds tokens, sessions of browsers, and answers to requests that bear a key."""

    # -- tokens

    def add_token(self, token: Token) -> Token:
        """Add a token. Raises UserError where its name is taken by one that still lets somebody in."""
        now = token.created_at
        with self.write(content=False) as session:
            there = session.scalar(sa.select(Token).where(Token.name == token.name))
            if there is not None and valid(there, now):
                raise UserError(f"the token '{token.name}'", "is there already", "revoke it, or choose another name")
            if there is not None:
                session.delete(there)  # and the sessions that it began
                session.flush()
            session.add(token)
            session.flush()
        return token

    def tokens(self) -> list[Token]:
        """Return all tokens in the order of their names."""
        with self.read() as session:
            return list(session.scalars(sa.select(Token).order_by(Token.name)))

    def token(self, digest: str) -> Pass | None:
        """Return the token with this digest."""
        return self._pass(_BY_DIGEST, digest=digest)

    def revoke_token(self, name: str, now: datetime) -> bool:
        """Have a token, and the sessions that it began, let nobody in any more; tell whether it did before."""
        with self.write(content=False) as session:
            found = session.scalar(sa.select(Token).where(Token.name == name))
            if found is None or found.revoked_at is not None:
                return False
            found.revoked_at = now
            session.execute(sa.delete(Login).where(Login.token_id == found.id))
            return True

    def use_token(self, number: int, now: datetime) -> None:
        """Note that somebody was let in by a token."""
        with self.write(content=False) as session:
            session.execute(sa.update(Token).where(Token.id == number).values(used_at=now))

    # -- sessions of browsers

    def add_login(self, login: Login) -> None:
        """Begin a session; those that have ended are forgotten."""
        with self.write(content=False) as session:
            session.execute(sa.delete(Login).where(Login.expires_at <= login.created_at))
            session.add(login)

    def login(self, digest: str, now: datetime) -> Pass | None:
        """Return the token by which a session began that has not ended."""
        return self._pass(_BY_LOGIN, digest=digest, now=now)

    def drop_login(self, digest: str) -> None:
        """End a session."""
        with self.write(content=False) as session:
            session.execute(sa.delete(Login).where(Login.digest == digest))

    # -- answers

    def claim_answer(self, claim: Answer, lost: timedelta, kept: timedelta) -> Answer | None:
        """Begin to answer a request that bears a key, and return None; or return what there is of an answer to the key.

        lost: how long after its beginning a request without an answer counts as cut short, so that this one takes its place.
        kept: how long answers are remembered.
        """
        now = claim.created_at
        with self.write(content=False) as session:
            session.execute(sa.delete(Answer).where(Answer.created_at <= now - kept))
            session.execute(sa.delete(Answer).where(_named(claim), Answer.status.is_(None), Answer.created_at <= now - lost))
            there = session.get(Answer, (claim.who, claim.key))
            if there is None:
                session.add(claim)
            return there

    def keep_answer(self, claim: Answer, status: int, body: Mapping[str, Any]) -> None:
        """Note what was answered."""
        with self.write(content=False) as session:
            session.execute(sa.update(Answer).where(_named(claim)).values(status=status, body=dict(body)))

    def drop_answer(self, claim: Answer) -> None:
        """Forget a request: the same one may come again."""
        with self.write(content=False) as session:
            session.execute(sa.delete(Answer).where(_named(claim)))

    def _pass(self, query: sa.Executable, **values: object) -> Pass | None:
        with complaints(self._engine), self._engine.connect() as connection:
            row = connection.execute(query, values).first()
            return Pass(*row) if row else None


def valid(token: Token | Pass, now: datetime) -> bool:
    """Tell whether a token lets somebody in. `now` is aware of its zone."""
    return token.revoked_at is None and (token.expires_at is None or aware(token.expires_at) > now)


def aware(time: datetime) -> datetime:
    """Return a time of the database with its zone: SQLite keeps none, and all are written in UTC."""
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _named(claim: Answer) -> sa.ColumnElement[bool]:
    return sa.and_(Answer.who == claim.who, Answer.key == claim.key)
