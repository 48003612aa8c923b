"""Who may do what: tokens, and the sessions of browsers that are begun with one.

A secret is 256 random bits. Whoever holds only its SHA-256 cannot guess it however quick the hash is, so that none of the slow
ones that passwords need is used; and it is looked up by that hash, so that the time it takes says nothing about the secret.
"""

import hashlib
import hmac
import logging
import re
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from hit.db import Database, Login, Token
from hit.db.access import Pass, aware, valid
from hit.db.records import check
from hit.errors import NotFoundError, UserError

log = logging.getLogger(__name__)
Role = Literal["viewer", "reviewer", "senior", "admin"]
RANK: dict[str, int] = {role: rank for rank, role in enumerate(get_args(Role))}
_PREFIX = "hit_"  # by which people, and programs that look for secrets in the wrong places, know one
_SECRET = re.compile(r"(hit_)?[\w-]{43}", re.ASCII)  # 32 bytes
_DAYS = 36_500
_NOTED = 60.0  # seconds between two notes that a token was used


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: the name, the role and the number of their token; `session` where a browser's cookie said so.

    key: tells principals apart, tokens of the same name and of different times too.
    """

    name: str
    role: Role
    token: int | None = None
    session: str | None = None
    key: str = ""

    def may(self, role: Role) -> bool:
        """Tell whether they may do what takes this role."""
        return RANK[self.role] >= RANK[role]


LOCAL = Principal("local", "admin")  # whoever is at this machine, where nobody is asked who they are


class Access:
    """The tokens of a library. Every question is asked of its database: what is revoked anywhere is so everywhere, at once."""

    def __init__(self, db: Database, session: timedelta = timedelta(hours=12)) -> None:
        self._db, self._session = db, session
        self._noted: dict[int, float] = {}

    def create(self, name: str, role: Role, days: float | None = None) -> tuple[str, Token]:
        """Return the secret of a new token, which nobody can tell again, and the token."""
        check(f"the token's name '{name}'", name)
        if role not in RANK:
            raise UserError(f"role {role}", "is none", f"one of {', '.join(RANK)}")
        if days is not None and not 0 < days <= _DAYS:
            raise UserError(f"{days:g} days", f"must be above 0, and {_DAYS} at most")
        secret, now = _PREFIX + secrets.token_urlsafe(32), datetime.now(UTC)
        expires = None if days is None else now + timedelta(days=days)
        return secret, self._db.add_token(
            Token(name=name, digest=_digest(secret), role=role, created_at=now, expires_at=expires, revoked_at=None, used_at=None)
        )

    def tokens(self) -> list[Token]:
        """Return all tokens in the order of their names, with times that bear their zone."""
        found = self._db.tokens()
        for token in found:
            for name in ("created_at", "expires_at", "revoked_at", "used_at"):
                if (time := getattr(token, name)) is not None:
                    setattr(token, name, aware(time))
        return found

    def admitted(self) -> int:
        """Return how many tokens let somebody in just now."""
        now = datetime.now(UTC)
        return sum(valid(token, now) for token in self._db.tokens())

    def revoke(self, name: str) -> None:
        """Have a token let nobody in any more. Raises NotFoundError for one that is not there."""
        if not self._db.revoke_token(name, datetime.now(UTC)) and name not in (names := [one.name for one in self._db.tokens()]):
            raise NotFoundError(f"the token '{name}'", "is not there", f"there are: {', '.join(names) or 'none'}")

    def verify(self, secret: str) -> Principal | None:
        """Return whose token this is, or None where it lets nobody in."""
        return _principal(self._shown(secret))

    def login(self, secret: str) -> tuple[str, Principal, float] | None:
        """Begin a browser's session by a token: its cookie, whose it is, and the seconds that it lasts; or None."""
        token = self._shown(secret)
        who = _principal(token)
        if token is None or who is None:
            return None
        now, cookie = datetime.now(UTC), secrets.token_urlsafe(32)
        ends = now + self._session
        if token.expires_at:
            ends = min(ends, aware(token.expires_at))
        self._db.add_login(Login(digest=_digest(cookie), token_id=token.id, created_at=now, expires_at=ends))
        return cookie, who, (ends - now).total_seconds()

    def _shown(self, secret: str) -> Pass | None:
        if not secret.startswith(_PREFIX) or not _SECRET.fullmatch(secret):
            return None
        return self._db.token(_digest(secret))

    def session(self, cookie: str) -> Principal | None:
        """Return whose browser has this cookie, or None where its session has ended."""
        if cookie.startswith(_PREFIX) or not _SECRET.fullmatch(cookie):
            return None
        digest = _digest(cookie)
        return _principal(self._db.login(digest, datetime.now(UTC)), digest)

    def still(self, who: Principal) -> bool:
        """Tell whether somebody who was let in before would be so now."""
        if who.token is None:
            return True
        now = datetime.now(UTC)
        token = self._db.login(who.session, now) if who.session else self._db.token(who.key)
        return token is not None and valid(token, now)

    def logout(self, who: Principal) -> None:
        """End the session of a browser."""
        if who.session:
            self._db.drop_login(who.session)

    def due(self, who: Principal) -> bool:
        """Tell, once a minute, that `note` is to be called."""
        now = time.monotonic()
        if who.token is None or now < self._noted.get(who.token, 0.0):
            return False
        self._noted[who.token] = now + _NOTED
        return True

    def note(self, who: Principal) -> None:
        """Note that a token was used. It waits for others who write, and fails quietly: nobody is kept out for its sake."""
        try:
            self._db.use_token(who.token or 0, datetime.now(UTC))
        except UserError as error:
            log.warning("that a token was used could not be noted: %s", error)


def csrf(cookie: str) -> str:
    """Return what a page of ours shows beside its cookie, which a page of others can have sent along, but cannot read."""
    return hmac.new(cookie.encode(), b"hit csrf", hashlib.sha256).hexdigest()


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _principal(token: Pass | None, session: str | None = None) -> Principal | None:
    if token is None or not valid(token, datetime.now(UTC)):
        return None
    return Principal(token.name, token.role, token.id, session, token.digest)  # type: ignore[arg-type]  # the table's check
