"""Who asks, and what they may do."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Depends, Request

from hit.api.problems import Problem

Role = Literal["viewer", "reviewer", "admin"]
RANK: dict[str, int] = {"viewer": 0, "reviewer": 1, "admin": 2}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: the name and the role of their token; `session` where a browser's cookie said so."""

    name: str
    role: Role
    token: int | None = None
    session: str | None = None

    def may(self, role: Role) -> bool:
        """Tell whether they may do what takes this role."""
        return RANK[self.role] >= RANK[role]


LOCAL = Principal("local", "admin")  # whoever is at this machine, where nobody is asked who they are


def principal(request: Request) -> Principal:
    """Return who asks. Raises Problem 401 for somebody who is not known."""
    return LOCAL


def need(role: Role) -> Callable[[Request], Principal]:
    """Return a dependency that lets in those of a role, or of a higher one."""

    def who(request: Request) -> Principal:
        found = principal(request)
        if not found.may(role):
            raise Problem(403, "not allowed", f"this takes the role {role}, and {found.name} is {found.role}")
        return found

    who.role = role  # type: ignore[attr-defined]  # for the test that goes through all routes
    return who


Viewer = Annotated[Principal, Depends(need("viewer"))]
Reviewer = Annotated[Principal, Depends(need("reviewer"))]
Admin = Annotated[Principal, Depends(need("admin"))]
