"""/v1/search/upload: an image or a short video becomes hits. It is kept for as long as that takes, and no longer."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from PIL import Image, UnidentifiedImageError
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from hit import video
from hit.api.auth import Viewer
from hit.api.common import Served, router
from hit.api.problems import Problem
from hit.api.schemas import SearchAnswer, SearchRequest
from hit.api.search import answer_json, find
from hit.errors import UserError

routes = router("search", 404, 413, 415)
IMAGE_BYTES, VIDEO_BYTES = 20 * 2**20, 200 * 2**20
PIXELS = 40_000_000  # of a picture: as raw bytes, 120 MB
SECONDS = 120.0
_SLACK = 2**20  # bytes of a body that are not the file
_REQUEST = 128 * 2**10  # bytes of the part `request`
_IMAGES = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")  # which Pillow reads by itself: no scripts, no other programs
_BODY = {
    "type": "object",
    "required": ["file"],
    "additionalProperties": False,
    "properties": {
        "file": {
            "type": "string",
            "format": "binary",
            "description": f"An image ({IMAGE_BYTES >> 20} MiB at most) or a video ({VIDEO_BYTES >> 20} MiB, {SECONDS:.0f} s).",
        },
        "request": {"$ref": "#/components/schemas/SearchRequest"},
    },
}
_FORM = {"multipart/form-data": {"schema": _BODY, "encoding": {"request": {"contentType": "application/json"}}}}


@dataclass(frozen=True, slots=True)
class Received:
    """What came: the file, which closes after the answer, and what is asked of it."""

    file: BinaryIO
    asked: SearchRequest


async def received(request: Request) -> AsyncIterator[Received]:
    """Read a form: one file, and one field. What is too large is refused before all of it has come."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise Problem(415, "the upload", "is no form", "send multipart/form-data with the parts `file` and `request`")

    async def limited() -> AsyncIterator[bytes]:
        taken = 0
        async for chunk in request.stream():
            if (taken := taken + len(chunk)) > VIDEO_BYTES + _SLACK:
                raise _too_large(VIDEO_BYTES)
            yield chunk

    stream: Any = limited()
    try:
        form = await MultiPartParser(request.headers, stream, max_files=1, max_fields=1, max_part_size=_REQUEST).parse()
    except MultiPartException as error:
        raise Problem(400, "the upload", error.message) from None
    except ClientDisconnect:
        raise Problem(400, "the upload", "was cut short") from None
    try:
        file, asked = form.get("file"), form.get("request", "{}")
        if not isinstance(file, UploadFile) or not isinstance(asked, str) or set(form) - {"file", "request"}:
            raise Problem(422, "the upload", "needs a part `file` that is a file, and may have a part `request` that is JSON")
        yield Received(file.file, _parse(asked))
    finally:
        await form.close()


def _parse(text: str) -> SearchRequest:
    try:
        return SearchRequest.model_validate_json(text)
    except ValidationError as error:
        raise RequestValidationError([{**one, "loc": ("request", *one["loc"])} for one in error.errors()]) from None


@routes.post("/search/upload", response_model=SearchAnswer, openapi_extra={"requestBody": {"required": True, "content": _FORM}})
def search_by_upload(served: Served, who: Viewer, came: Annotated[Received, Depends(received)]) -> dict[str, Any]:
    """Find the moments that are like an image or a short video, and fit texts too where some are given."""
    with _kept(came.file) as path:
        try:
            kind = _kind(path)
            return answer_json(find(came.asked, served, **{kind: [path]}), served, who)
        except UserError as error:  # nobody who sent a file knows of ours
            raise type(error)(error.what.replace(str(path), "the upload"), error.why, error.fix) from None


@contextmanager
def _kept(file: BinaryIO) -> Iterator[Path]:
    """Give a file a path, in a folder that nobody else can read, for a while."""
    with tempfile.TemporaryDirectory(prefix="hit-") as folder:
        path = Path(folder, "upload")
        with path.open("wb") as target:
            shutil.copyfileobj(file, target, 2**20)
        yield path


def _kind(path: Path) -> Literal["images", "videos"]:
    """Tell what a file is by its content. Raises Problem for what is too large, and for what is neither."""
    try:
        with Image.open(path, formats=_IMAGES) as image:
            moves, pixels = getattr(image, "is_animated", False), image.width * image.height
    except UnidentifiedImageError:
        moves, pixels = True, 0
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Problem(415, "the upload", f"cannot be read as an image: {error}") from None
    if not moves:
        if path.stat().st_size > IMAGE_BYTES:
            raise _too_large(IMAGE_BYTES)
        if pixels > PIXELS:
            raise Problem(413, "the upload", f"has {pixels:,} pixels", f"images of up to {PIXELS:,} are taken")
        return "images"
    try:
        found = video.probe(path)
    except UserError as error:
        raise Problem(415, "the upload", error.why, "send an image or a video") from None
    if found.duration > SECONDS or found.width * found.height > PIXELS:
        why = f"is {found.duration:.0f} s long, {found.width} x {found.height}"
        raise Problem(413, "the upload", why, f"videos of up to {SECONDS:.0f} s and {PIXELS:,} pixels are taken")
    return "videos"


def _too_large(most: int) -> Problem:
    return Problem(413, "the upload", f"is larger than {most >> 20} MiB", "send a smaller one")
