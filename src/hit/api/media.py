"""/v1/videos/{id}/...: what videos are shown by."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import PurePath
from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import Query, Request, Response
from fastapi.responses import FileResponse, PlainTextResponse, StreamingResponse

from hit import places, video
from hit.api.auth import Principal, Viewer
from hit.api.common import Served, router
from hit.api.problems import Problem
from hit.api.schemas import Id
from hit.api.videos import FOREVER
from hit.db import Card
from hit.errors import NotFoundError, UserError
from hit.files import BusyError
from hit.service import Service
from hit.service.media import facts
from hit.trail import source
from hit.types import Far, Where

routes = router("media", 404, 409)
MADE = 1  # counts up when what is made of the same content changes
_PIECE = 1 << 20  # bytes of a file in an object store that are fetched, and sent, at once
LONG = 900.0  # seconds of video from which on sprites are made by a job: whoever asks does not wait
_RANGE = r"(\d{1,18}-\d{0,18}|-\d{1,18})"
RANGES = re.compile(f"bytes={_RANGE}(,{_RANGE})*", re.ASCII)

Seconds = Annotated[float, Query(ge=0, le=1e7, allow_inf_nan=False)]


class Track(PlainTextResponse):
    """WebVTT."""

    media_type = "text/vtt"


@routes.head("/videos/{video_id}/stream", include_in_schema=False)
@routes.get("/videos/{video_id}/stream", response_class=FileResponse, responses={206: {}, 304: {}, 416: {}})
def stream(
    video_id: Id, request: Request, served: Served, who: Viewer, rendition: Literal["auto", "original"] = "auto"
) -> Response:
    """Send the video's file, or parts of it (Range).

    auto: where browsers cannot play the file, a rendition that they can. Until there is one, the answer is a problem 409 with
    the `job` that makes it.
    """
    card = served.db.video(video_id)
    with _about(video_id):
        path = source(served.library, video_id)
        found = facts(path)
        if rendition == "original" or found.playable:
            return _file(request, path, f"{video_id}", found.type, card.title)
    made = served.media.find("renditions", video_id)
    if made is None:
        raise _started(served, "rendition", card, who, found.why)
    return _file(request, made, f"{video_id}-r{MADE}", "video/mp4", PurePath(card.title).stem + ".mp4")


@routes.head("/videos/{video_id}/thumbnail", include_in_schema=False)
@routes.get("/videos/{video_id}/thumbnail", response_class=Response, responses={200: {"content": {"image/jpeg": {}}}, 304: {}})
def thumbnail(
    video_id: Id,
    request: Request,
    served: Served,
    who: Viewer,
    t: Seconds = 0.0,
    size: Annotated[int, Query(ge=16, le=1080)] = 240,
) -> Response:
    """Return the picture on screen at `t`, after the end the last one; its shorter side is `size` pixels long."""
    served.db.video(video_id)
    headers = {**FOREVER, "ETag": f'"{video_id}-{t:.3f}-{size}"'}
    if _known(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    with _about(video_id):
        image = video.frame(source(served.library, video_id), t, size)
    return Response(video.jpeg(image), media_type="image/jpeg", headers=headers)


@routes.head("/videos/{video_id}/sprites.jpg", include_in_schema=False)
@routes.get("/videos/{video_id}/sprites.jpg", response_class=FileResponse, responses={304: {}})
def sprites(video_id: Id, request: Request, served: Served, who: Viewer) -> Response:
    """Return small pictures of the whole video on one sheet; `sprites.vtt` says where which is.

    Of a long video they are made by a job, and until then the answer is a problem 409 with it.
    """
    card = served.db.video(video_id)
    duration = _duration(card)
    made = served.media.find("sprites", video_id)
    if made is None:
        with _about(video_id):
            path = source(served.library, video_id)
        if duration > LONG:
            raise _started(served, "sprites", card, who, "it is long")
        with _about(video_id):
            made = served.media.make("sprites", video_id, lambda target: video.sprites(path, duration, target))
    return _file(request, made, f"{video_id}-s{MADE}", "image/jpeg")


@routes.head("/videos/{video_id}/sprites.vtt", include_in_schema=False)
@routes.get("/videos/{video_id}/sprites.vtt", response_class=Track)
def tracks(video_id: Id, served: Served, who: Viewer) -> Response:
    """Return the WebVTT track that says which part of `sprites.jpg` shows which stretch of the video."""
    card = served.db.video(video_id)
    duration = _duration(card)
    sheet = video.sheet_of(duration, (card.video.width or 1, card.video.height or 1))
    text = video.vtt(sheet, duration, f"/v1/videos/{video_id}/sprites.jpg")
    return Track(text, headers={"Cache-Control": "private, max-age=3600"})


@routes.head("/videos/{video_id}/clip", include_in_schema=False)
@routes.get("/videos/{video_id}/clip", response_class=FileResponse, responses={206: {}, 304: {}, 416: {}})
def clip(video_id: Id, request: Request, served: Served, who: Viewer, start: Seconds, end: Seconds) -> Response:
    """Return a stretch of the video as an mp4 to keep, without encoding it anew where that can be.

    It begins with the picture on screen at `start`, and ends with the one on screen just before `end` or a few after it.
    """
    card = served.db.video(video_id)
    limit = served.config.clip_seconds
    if not start < end <= start + limit:
        raise Problem(422, "the clip", f"goes from {start} to {end} s", f"at most {limit:.0f} s, and the end after the start")
    name = f"{video_id}-{start:.3f}-{end:.3f}"
    with _about(video_id):
        path = source(served.library, video_id)
        made = served.media.make("clips", name, lambda target: video.cut(path, start, end, target))
    return _file(request, made, f"{name}-c{MADE}", "video/mp4", f"{PurePath(card.title).stem} {start:.1f}-{end:.1f}.mp4", True)


@contextlib.contextmanager
def _about(video_id: str) -> Iterator[None]:
    """Name the video, not its path, in what is wrong with its file: not everybody may see paths."""
    try:
        yield
    except NotFoundError:
        raise
    except BusyError:
        raise Problem(409, f"video {video_id}", "another request is at work on it", "ask again later") from None
    except UserError as error:
        raise Problem(422, f"video {video_id}", error.why, error.fix) from None


def _duration(card: Card) -> float:
    if not card.video.duration or card.video.duration <= 0:
        raise NotFoundError(f"video {card.video.id}", "has no pictures that are known yet", "wait until it is indexed")
    return card.video.duration


def _started(served: Service, kind: str, card: Card, who: Principal, why: str) -> Problem:
    """Return the problem that says which job makes what is not there yet, having started one unless one is at work or failed."""
    name = card.video.id
    job = next((job for job in served.jobs.list(limit=200, kind=kind) if job.detail.get("video") == name), None)
    if job is None or job.state in ("done", "cancelled"):
        served.media.tidy()
        job = served.jobs.submit(kind, {"video": name, "title": card.title}, who.name)
    if job.state == "failed":
        error = job.detail.get("error") if who.may("admin") else "its job says why"
        return Problem(409, f"video {name}", f"no {kind} of it could be made: {error}", "have the job tried again", job=job.id)
    return Problem(409, f"video {name}", f"its {kind} is being made: {why}", "ask again", {"Retry-After": "2"}, job=job.id)


def _file(request: Request, path: Where, tag: str, kind: str, name: str | None = None, keep: bool = False) -> Response:
    """Send a file whose content `tag` names, to be kept under `name` or else shown."""
    headers = {**FOREVER, "ETag": f'"{tag}"', "X-Content-Type-Options": "nosniff"}
    if _known(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    look = None if isinstance(path, Far) else path.stat()
    ranges = request.headers.get("Range", "")
    if request.headers.get("If-Range", headers["ETag"]) != headers["ETag"]:
        ranges = ""
    elif "Range" in request.headers:
        ranges = _checked(ranges, path.size if isinstance(path, Far) else path.stat().st_size)
    place = "attachment" if keep else "inline"
    if not isinstance(path, Far):
        return FileResponse(path, 200, headers, kind, filename=name, stat_result=look, content_disposition_type=place)
    headers["Content-Disposition"] = f"{place}; filename*=utf-8''{quote(name)}" if name else place
    return _far(path, ranges, headers, kind, request.method == "HEAD")


def _far(far: Far, ranges: str, headers: dict[str, str], kind: str, bare: bool) -> Response:
    """Send a file of an object store, or the part of it that is asked for; where it is several, all of it."""
    start, end, status = 0, far.size, 200
    if ranges and "," not in ranges:
        first, _, last = ranges.partition("=")[2].partition("-")
        start, status = (int(first) if first else max(0, far.size - int(last))), 206
        end = min(far.size, int(last) + 1) if first and last else far.size
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{far.size}"
    headers |= {"Accept-Ranges": "bytes", "Content-Length": str(end - start)}
    if bare:
        return Response(status_code=status, headers=headers, media_type=kind)
    return StreamingResponse(places.blocks(far, start, end, _PIECE), status, headers, kind)


def _known(request: Request, tag: str) -> bool:
    """Tell whether the client has this content already."""
    given = request.headers.get("If-None-Match", "")
    return given.strip() == "*" or tag in {one.strip().removeprefix("W/") for one in given.split(",")}


def _checked(ranges: str, size: int) -> str:
    """Return ranges without blanks. Raises Problem for those that cannot be sent."""
    wanted = re.sub(r"(?<![0-9]) +| +(?![0-9])", "", ranges).lower()  # none within a number
    if not RANGES.fullmatch(wanted):
        raise Problem(400, "the header Range", "is not one of bytes", "bytes=FIRST-LAST")
    for one in wanted.removeprefix("bytes=").split(","):
        first, _, last = one.partition("-")
        if (first and (int(first) >= size or (last and int(last) < int(first)))) or (not first and int(last) == 0):
            raise Problem(
                416,
                "the header Range",
                f"asks for what is not there: {size} bytes are",
                headers={"Content-Range": f"bytes */{size}"},
            )
    return wanted
