"""/v1/videos, /v1/roots: what comes into the library and leaves it, by path or by upload. The work is done by jobs."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from hit.api.auth import Admin
from hit.api.common import Served, router, video_json
from hit.api.jobs import JobJson, submitted
from hit.api.problems import Problem
from hit.api.schemas import Given, Id, VideoJson
from hit.errors import UserError
from hit.files import is_video
from hit.remote import is_url
from hit.service import Service
from hit.service.uploads import HarmfulError, NoVideoError, TooLargeError
from hit.types import Far

routes = router("ingest", 403, 404, 413, 415)
_BLOCK = 1 << 20  # bytes written at once
_FOLDERS = 1000  # shown of one folder
_STATUS = {TooLargeError: 413, NoVideoError: 415, HarmfulError: 422}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {"schema": {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}, "required": ["file"]}}


class Sources(Given):
    """Files and folders on the server, under one of its roots."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"sources": ["/videos/2026"]}]})
    sources: Annotated[list[Annotated[str, Field(min_length=1, max_length=4096)]], Field(min_length=1, max_length=100)]
    retry: bool = Field(default=False, description="Whether files that failed are tried again.")


class UploadAnswer(BaseModel):
    """What became of an upload. `job` is null where the library has this content already, and has looked at it."""

    video: VideoJson
    job: JobJson | None
    duplicate: bool


class Root(BaseModel):
    """A folder of which videos may be added."""

    number: int
    path: str


class Folder(BaseModel):
    """A folder, and how many videos lie right in it."""

    name: str
    path: str
    videos: int


class FolderList(BaseModel):
    """What is in a folder of a root."""

    path: str
    videos: int
    folders: list[Folder]


@routes.post("/videos", response_model=JobJson, status_code=202)
def add(asked: Sources, served: Served, who: Admin) -> dict[str, Any]:
    """Bring files and folders on the server into the library."""
    urls = [name for name in asked.sources if is_url(name)]
    if urls and not served.config.urls:
        raise Problem(403, "web addresses", "are not fetched by this server", "set `urls = true` in serve.toml")
    sources = [name if name in urls else _source(served, name) for name in asked.sources]
    within = [served.library.db.roots.portable(Path(root).absolute()) for root in served.config.roots]
    detail = {"sources": sources, "retry": asked.retry, "within": within, "http": bool(urls)}
    return submitted(served.jobs, "index", detail, who.name)


@routes.delete("/videos/{video_id}", response_model=JobJson, status_code=202)
def remove(video_id: Id, served: Served, who: Admin) -> dict[str, Any]:
    """Have a video forgotten. Its file stays, unless it was uploaded."""
    served.db.video(video_id)
    return submitted(served.jobs, "remove", {"videos": [video_id]}, who.name)


@routes.post("/videos/{video_id}/reindex", response_model=JobJson, status_code=202)
def reindex(video_id: Id, served: Served, who: Admin) -> dict[str, Any]:
    """Have a video looked at and embedded anew; its tags and its title stay."""
    served.db.video(video_id)
    return submitted(served.jobs, "reindex", {"videos": [video_id]}, who.name)


@routes.post(
    "/videos/upload",
    response_model=UploadAnswer,
    status_code=202,
    responses={200: {"model": UploadAnswer, "description": "The library has this content already"}},
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/octet-stream": _BINARY, "multipart/form-data": _FORM}}
    },
)
async def upload(
    request: Request,
    response: Response,
    served: Served,
    who: Admin,
    name: Annotated[str, Query(max_length=1000, description="What the video is called, where the body is the file.")] = "",
) -> dict[str, Any]:
    """Send a video, as the body or as the one file of a form. It is kept in the library's folder, and then indexed."""
    try:
        body = _Body(request, name, served.uploads.most)
        with await run_in_threadpool(served.uploads.begin, body.size) as sent:
            async for block in body.blocks():
                await run_in_threadpool(sent.write, block)
            kept = await run_in_threadpool(sent.keep, body.name)
    except (TooLargeError, NoVideoError, HarmfulError) as error:
        raise Problem(_STATUS[type(error)], error.what, error.why, error.fix) from None
    except (ClientDisconnect, FormParserError):
        raise Problem(400, "the upload", "broke off, or is no form that can be read", "send it again") from None
    job, card = None, await run_in_threadpool(served.db.video, kept.video)
    if card.video.status == "pending":  # also where a server was killed after it had taken the same file in
        detail = {"sources": [kept.path], "title": card.title}
        job = await run_in_threadpool(submitted, served.jobs, "index", detail, who.name)
    response.status_code = 202 if job else 200
    return {"video": video_json(card, who), "job": job, "duplicate": kept.duplicate}


@routes.get("/roots")
def roots(served: Served, who: Admin) -> list[Root]:
    """List the folders of which videos may be added."""
    return [Root(number=number, path=str(Path(root).absolute())) for number, root in enumerate(served.config.roots)]


@routes.get("/roots/{number}/folders", response_model=FolderList)
def folders(
    number: int, served: Served, who: Admin, path: Annotated[str, Query(max_length=4096, description="Within the root.")] = ""
) -> dict[str, Any]:
    """List the folders in a folder of a root, and how many videos lie right in each."""
    if not 0 <= number < len(served.config.roots):
        raise Problem(404, f"root {number}", "there is none of this number")
    root = Path(served.config.roots[number]).absolute()
    top = _confined(served, root / path.lstrip("/"))
    if not top.is_dir():
        raise Problem(404, path, "is no folder")
    inside = [one for one in _entries(top) if one.is_dir() and not one.name.startswith(".") and one.name.isprintable()]
    shown = [one for one in inside if _within(served, one)][:_FOLDERS]
    counts = [{"name": one.name, "path": str(one), "videos": _videos(one)} for one in shown]
    return {"path": str(top), "videos": _videos(top), "folders": counts}


def _source(served: Service, name: str) -> str:
    """Return what every machine calls what is named: NAME:PATH in an object store is under a root of hit.toml."""
    roots = served.db.roots
    where = roots.given(name)
    return roots.portable(where if isinstance(where, Far) else _confined(served, where))


def _confined(served: Service, path: Path) -> Path:
    """Return the path of something under a root, links and all followed. Raises Problem 403 and 404."""
    if not path.is_absolute() or not _within(served, path):
        allowed = ", ".join(served.config.roots) or "none; name some as `roots` in serve.toml"
        raise Problem(403, str(path), "is not in a folder that may be indexed", f"these may: {allowed}")
    real = path.resolve()
    if not _exists(real):
        raise Problem(404, str(path), "there is no such file or folder")
    return real


def _within(served: Service, path: Path) -> bool:
    try:
        real = path.resolve()
    except (OSError, RuntimeError, ValueError):  # a circle of links, a name that no file can have
        return False
    return any(real.is_relative_to(Path(root).resolve()) for root in served.config.roots)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long
        return False


def _videos(folder: Path) -> int:
    return sum(is_video(one.name) and not one.is_dir() for one in _entries(folder))


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # not ours to read: as if nothing were in it
        return []


class _Body:
    """A request's file, block by block, and its sender's name for it: the whole body, or the one file of a form."""

    def __init__(self, request: Request, name: str, most: int) -> None:
        self._request, self.name, self._most = request, name, most + _BLOCK  # a form has other words, too
        kind, options = parse_options_header(request.headers.get("content-type", ""))
        self._form = _Form(options.get(b"boundary", b"")) if kind == b"multipart/form-data" else None
        length = request.headers.get("content-length", "")
        self.size = int(length[:18]) if length.isdecimal() and self._form is None else None

    async def blocks(self) -> AsyncIterator[bytes]:
        """Yield the file's bytes. Raises FormParserError, UserError for a form without a file, and ClientDisconnect."""
        waiting, total = bytearray(), 0
        async for chunk in self._request.stream():
            total += len(chunk)
            if total > self._most:
                raise TooLargeError("the upload", "is larger than what is taken")
            waiting += chunk if self._form is None else self._form.feed(chunk)
            if len(waiting) >= _BLOCK:
                yield bytes(waiting)
                waiting.clear()
        if self._form is not None:
            self._form.close()
            self.name = self.name or self._form.name
        yield bytes(waiting)


class _Form:
    """The one file of a form, taken out as the form comes."""

    def __init__(self, boundary: bytes) -> None:
        self.name, self._count, self._inside, self._whole = "", 0, False, False
        self._header, self._value, self._out = b"", b"", bytearray()
        if not boundary:
            raise FormParserError("no boundary")
        self._parser = MultipartParser(
            boundary,
            {
                "on_header_field": self._field,
                "on_header_value": self._more,
                "on_header_end": self._line,
                "on_part_data": self._data,
                "on_part_end": self._part_end,
                "on_end": self._end,
            },
        )

    def feed(self, chunk: bytes) -> bytes:
        """Take some of the form; return what of it is of the file."""
        self._parser.write(chunk)
        out = bytes(self._out)
        self._out.clear()
        return out

    def close(self) -> None:
        """Raise FormParserError for a form that broke off, and UserError for one with another number of files than one."""
        if not self._whole:
            raise FormParserError("it broke off")
        if self._count != 1:
            raise UserError("the form", f"has {self._count} files", "send one at a time")

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _more(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _line(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            if (name := options.get(b"filename")) is not None:
                self._inside, self._count = self._count == 0, self._count + 1
                self.name = self.name or name.decode("utf-8", "replace")
        self._header, self._value = b"", b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._inside:
            self._out += data[start:end]

    def _part_end(self) -> None:
        self._inside = False

    def _end(self) -> None:
        self._whole = True
