"""/v1/bank: clips that are known to be bad, and which videos are like them."""

from typing import Annotated, Any

from fastapi import Path, Response
from pydantic import BaseModel, ConfigDict, Field

from hit.api.auth import Admin, Reviewer
from hit.api.common import Served, router
from hit.api.jobs import JobJson, submitted
from hit.api.policy_shapes import MatchJson
from hit.api.schemas import Given, Id, Text, When
from hit.moderation import bank as banks

routes = router("bank", 404)


class BankedJson(BaseModel):
    """A clip that is known to be bad: how many of its frames are, who added it and when. Its video may be gone."""

    id: int
    title: str
    note: str
    frames: int
    by: str
    added_at: When


class BankList(BaseModel):
    """Known clips, the newest first."""

    bank: list[BankedJson]


class ToBan(Given):
    """A video of the library, or a stretch of it, in seconds."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"video_id": "1f2e3d4c5b6a7988", "note": "the leaked trailer"}]})
    video_id: Id
    note: Text = ""
    start: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    end: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


class Banked(BankedJson):
    """A clip that was added, and the job that looks for it in the library."""

    job: JobJson


class Matches(BaseModel):
    """Known clips that a video is like, the likest first."""

    matches: list[MatchJson]


@routes.get("/bank", response_model=BankList)
def bank(served: Served, who: Admin) -> dict[str, Any]:
    """List what is known to be bad."""
    return {"bank": [banks.to_json(one) for one in served.db.bank()]}


@routes.post("/bank", response_model=Banked, status_code=201)
def ban(asked: ToBan, served: Served, who: Admin) -> dict[str, Any]:
    """Have a video, or a stretch of it, be known from now on, also when it is gone itself."""
    end = float("inf") if asked.end is None else asked.end
    made = banks.add(served.library, asked.video_id, asked.note, who.name, asked.start, end)
    return {**banks.to_json(made), "job": submitted(served.jobs, "judge", {}, who.name)}


@routes.delete("/bank/{number}", status_code=204)
def unban(number: Annotated[int, Path(ge=1, le=2**31 - 1)], served: Served, who: Admin) -> Response:
    """Take something from the bank; what was found by it is judged anew."""
    served.db.unban(number)
    submitted(served.jobs, "judge", {}, who.name)
    return Response(status_code=204)


@routes.get("/videos/{video_id}/matches", response_model=Matches)
def matches(video_id: Id, served: Served, who: Reviewer) -> dict[str, Any]:
    """Return what in the bank a video is like, frame by frame."""
    return {"matches": banks.matches_of(served.library, video_id)}
