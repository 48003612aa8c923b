"""Who asks, and what they may do: what every route under /v1 declares as its parameter `who`."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request

from hit.api.problems import Problem
from hit.service.access import LOCAL, RANK, Principal, Role

__all__ = ["LOCAL", "RANK", "Admin", "Principal", "Reviewer", "Role", "Senior", "Viewer", "need", "principal"]


def principal(request: Request) -> Principal:
    """Return who asks, as `hit.api.guard` found out. Raises Problem 401 for somebody who is not known."""
    found: Principal | None = getattr(request.state, "who", None)
    if found is None:
        fix = "send a token in the header `Authorization: Bearer ...`, or log in at /login; `hit token create` makes one"
        raise Problem(401, "who are you?", "this takes a token that is valid", fix, {"WWW-Authenticate": 'Bearer realm="hit"'})
    return found


def need(role: Role) -> Callable[[Request], Awaitable[Principal]]:
    """Return a dependency that lets in those of a role, or of a higher one."""

    async def who(request: Request) -> Principal:  # a coroutine: it waits for nothing, and a thread would cost more than it does
        found = principal(request)
        if not found.may(role):
            raise Problem(403, "not allowed", f"this takes the role {role}, and {found.name} is {found.role}")
        return found

    who.role = role  # type: ignore[attr-defined]  # for the test that goes through all routes
    return who


Viewer = Annotated[Principal, Depends(need("viewer"))]
Reviewer = Annotated[Principal, Depends(need("reviewer"))]
Senior = Annotated[Principal, Depends(need("senior"))]
Admin = Annotated[Principal, Depends(need("admin"))]
