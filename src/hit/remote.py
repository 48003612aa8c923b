"""Videos on web servers (by httpx2), and their copies in a folder. Those in object stores stay there: see `hit.places`.

SCHEME/HOST/PATH    a copy; every step is encoded, so that no name leads out of the folder
.NAME.part          what has come of a copy so far
.NAME.json          which version of the file the copy is, and which the part
"""

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urlsplit

from hit import files
from hit.errors import UserError
from hit.objects import Folder
from hit.types import Progress, Silent, Task

STORES = ("s3", "gs", "az")
WEB = ("http", "https")
_GIB = 2**30
_TIMEOUT = 30.0  # seconds for a connection, and between two pieces of a web server's answer
_PAUSES = (1.0, 4.0)  # seconds before a web server is asked again; object stores' own libraries do this themselves
_LONGEST = 180  # bytes of a step in a copy's path: file systems take 255, and ours have more names beside it


@dataclass(frozen=True, slots=True)
class Remote:
    """Where copies go, and what may be fetched: web addresses only where `http` says so, no file of more than `limit` GiB.

    shared: the folder of a library's files, if that is not on this machine; the copies are sent there.
    """

    folder: Path
    http: bool = False
    limit: float = 20.0
    progress: Progress = field(default_factory=Silent)
    shared: Folder | None = None


@dataclass(frozen=True, slots=True)
class _Stream:
    """A file on its way: its version ('' where the server does not say), its size in bytes, and the blocks from `begins` on."""

    mark: str
    size: int | None
    begins: int
    blocks: Iterator[bytes]


def is_url(name: str) -> bool:
    """Tell a URL from a path."""
    return re.match(r"[a-z][a-z0-9+.-]*://", name, re.IGNORECASE) is not None


def shown(url: str) -> str:
    """Return a URL without what may be secret: user, password, and a web address's query."""
    bare = re.sub(r"^([^:/]+://)[^/?#]*@", r"\1", url)
    return re.sub(r"[?#].*", "?...", bare, flags=re.DOTALL) if _scheme(url) in WEB else bare


def check(url: str, remote: Remote) -> None:
    """Raise UserError for a URL that may not, or can never, be fetched."""
    import httpx2

    scheme = _scheme(url)
    if scheme in STORES:
        if re.match(r"[^:]+://[^/]*@", url):
            raise UserError(shown(url), "its credentials are not taken from a URL", "give them in the environment")
        try:
            import obstore  # noqa: F401
        except ImportError:
            raise UserError(shown(url), "the package obstore is missing", "pip install 'hit-video[remote]'") from None
    elif scheme not in WEB:
        raise UserError(shown(url), f"no videos are fetched by '{scheme}'", f"one of {', '.join((*STORES, *WEB))}")
    elif not remote.http:
        raise UserError(shown(url), "web addresses are not fetched unless that is asked for", "add --http")
    else:
        try:
            host, _ = httpx2.URL(url).host, urlsplit(url).port
        except (httpx2.InvalidURL, ValueError) as error:
            raise UserError(shown(url), f"not a web address: {_harmless(error)}") from None
        if not host:
            raise UserError(shown(url), "a web address without a host")


def fetch(urls: Sequence[str], remote: Remote) -> tuple[dict[str, Path], list[tuple[str, str]]]:
    """Return the copy of what is at each web address, made now where it is not there and current, and the failures (URL, reason).

    What was fetched in part is gone on with.
    """
    import httpx2

    found: dict[str, _Page] = {}
    failed: list[tuple[str, str]] = []
    with httpx2.Client(follow_redirects=True, timeout=_TIMEOUT) as client:
        for url in urls:
            try:
                found[url] = _Page(client, url)
            except Exception as error:  # the client has types of its own
                failed.append((shown(url), _reason(error)))
        copies: dict[str, Path] = {}
        with remote.progress.task("Fetching, MB", None) as task:
            for url, file in found.items():
                local = remote.folder.joinpath(*file.steps)
                task.advance(0, note=local.name)
                if reason := _persist(file, local, remote.limit, task):
                    failed.append((file.shown, reason))
                else:
                    copies[url] = local
    return copies, failed


def _persist(file: "_Page", local: Path, limit: float, task: Task) -> str:
    """Bring a copy up to date, in several tries if need be; return why that failed."""
    for pause in (*_PAUSES, None):
        try:
            _copy(file, local, limit, task)
        except Exception as error:  # each back end has types of its own
            if pause is None or not _passes(error):
                return _reason(error)
            time.sleep(pause)
        else:
            break
    return ""


def _copy(file: "_Page", local: Path, limit: float, task: Task) -> None:
    local.parent.mkdir(parents=True, exist_ok=True)
    part, note = local.with_name(f".{local.name}.part"), local.with_name(f".{local.name}.json")
    marks = json.loads(note.read_text()) if note.exists() else {}
    # A byte again, so that a part that lacks nothing does not ask for what is beyond the end.
    done = max(part.stat().st_size - 1, 0) if part.exists() and marks.get("part") else 0
    with file.open(done, marks.get("part", "")) as stream:
        if stream.mark and marks.get("whole") == stream.mark and local.exists():
            task.advance((stream.size or 0) / 1e6)
            return
        if not stream.begins:
            part.unlink(missing_ok=True)  # before the note: a part is never taken for one of another version
            files.write_whole(note, json.dumps({**marks, "part": stream.mark}).encode())
        done = stream.begins
        _bound(stream.size or 0, limit, part)
        with part.open("r+b" if done else "wb") as target:
            target.seek(done)
            target.truncate()
            for block in stream.blocks:
                done += len(block)
                _bound(done, limit, part)
                target.write(block)
                task.advance(len(block) / 1e6)
            target.flush()
            os.fsync(target.fileno())
        if stream.size not in (None, done):
            raise UserError(file.shown, f"ended after {done} of {stream.size} bytes", "try again")
    part.replace(local)
    files.write_whole(note, json.dumps({"whole": stream.mark}).encode())


def _bound(size: int, limit: float, part: Path) -> None:
    if size > limit * _GIB:
        part.unlink(missing_ok=True)
        raise UserError("a file", f"is larger than {limit:g} GiB", "raise --max-download")


class _Page:
    """What a web address answers with. Redirects are followed, to http and https alone: httpx2 knows no other scheme."""

    def __init__(self, client: Any, url: str) -> None:
        self._client, self._url, self.shown = client, url, shown(url)
        parts = urlsplit(url)
        *above, name = [unquote_to_bytes(step) for step in parts.path.lstrip("/").split("/")]
        host = f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
        self.steps = [_scheme(url), _step(host.encode()), *map(_step, above), _step(name, parts.query)]

    @contextlib.contextmanager
    def open(self, begins: int, mark: str) -> Iterator[_Stream]:
        headers = {"Accept-Encoding": "identity"}
        if begins and mark.startswith('"'):  # a weak tag, W/"...", does not warrant equal bytes
            headers |= {"Range": f"bytes={begins}-", "If-Range": mark}
        with self._client.stream("GET", self._url, headers=headers) as answer:
            answer.raise_for_status()
            given = answer.headers
            size = int(given["content-length"]) if "content-length" in given and "content-encoding" not in given else None
            if answer.status_code != 206:
                begins = 0
            elif not given.get("content-range", "").startswith(f"bytes {begins}-"):
                raise UserError(self.shown, "the server sent another part than was asked for")
            whole = None if size is None else begins + size
            yield _Stream(given.get("etag") or given.get("last-modified") or "", whole, begins, answer.iter_bytes())


def _scheme(url: str) -> str:
    return url.partition("://")[0].lower()


def _step(raw: bytes, query: str = "") -> str:
    """Return a step of a URL's path as a file name, another one for every other step and query."""
    name = quote(raw, safe=" ()[],+=@") or "%"
    if name.startswith("."):
        name = f"%2E{name[1:]}"
    if query or len(name) > _LONGEST:
        digest = hashlib.sha256(raw + b"?" + query.encode(errors="surrogatepass")).hexdigest()[:16]
        suffix = Path(name).suffix if len(Path(name).suffix) < 10 else ""
        name = f"{name.removesuffix(suffix)[: _LONGEST - 30]}%_{digest}{suffix}"  # no encoded name holds %_
    return name


# -- failures


def _passes(error: Exception) -> bool:
    """Tell whether a web server may answer better if it is asked again."""
    import httpx2

    if isinstance(error, httpx2.HTTPStatusError):
        return error.response.status_code == 429 or error.response.status_code >= 500
    return isinstance(error, httpx2.TransportError) and not isinstance(error, httpx2.UnsupportedProtocol)


def _reason(error: Exception) -> str:
    import httpx2

    if isinstance(error, UserError):
        return f"{error.why} ({error.fix})" if error.fix else error.why
    if isinstance(error, httpx2.HTTPStatusError):
        return f"the server answered {error.response.status_code} {error.response.reason_phrase}".strip()
    if isinstance(error, httpx2.TimeoutException):
        return f"no answer within {_TIMEOUT:g} seconds"
    if isinstance(error, FileNotFoundError):
        return "there is no such file or folder"
    return f"{type(error).__name__}: {_harmless(error)}"


def _harmless(error: Exception) -> str:
    return re.sub(r"\?\S*", "?...", re.sub(r"//[^/\s]*@", "//", str(error).strip().partition("\n")[0]))
