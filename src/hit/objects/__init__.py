"""Folders of files, by URL: in object stores (s3, gs and az, by obstore) or on a disk, and both behave alike.

    s3://BUCKET/FOLDER   gs://BUCKET/FOLDER   az://CONTAINER/FOLDER   memory://NAME (of this process alone, for tests)
    file:///FOLDER       a path

A name is relative, with / between its steps. A file is there whole or not at all, whenever who writes it dies. Credentials, and
end points of other makers, are taken from the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS,
AZURE_STORAGE_ACCOUNT_NAME, ...), and never from a URL. Failures that pass are tried again by obstore.
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from hit.errors import UserError
from hit.objects import bucket, disk
from hit.objects.bucket import store
from hit.objects.contract import Entry, Folder, checked, shown

__all__ = ["OWNER", "Entry", "Folder", "check", "claim", "claimed", "folder", "is_url", "shown", "store"]
OWNER = "library.id"  # the file that says whose folder it is
SCHEMES = ("s3", "gs", "az", "memory")


def is_url(place: str | Path) -> bool:
    """Tell whether a place is one that `folder` knows by a scheme."""
    return re.match(rf"({'|'.join(SCHEMES)}|file)://", str(place)) is not None


def check(place: str | Path) -> str:
    """Return a place, without what it says in excess. Raises UserError for one that no files can be at."""
    text = str(place)
    scheme, found, rest = text.partition("://")
    if not found:
        return str(Path(text).expanduser().absolute()) if text else text
    if scheme == "file":
        parts = urlsplit(text)
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise UserError(shown(text), "is no folder of this machine", "for example file:///data/library")
        return f"file://{parts.path.rstrip('/') or '/'}"
    if scheme not in SCHEMES:
        raise UserError(shown(text), f"no files are kept by '{shown(scheme)}'", f"one of {', '.join((*SCHEMES[:3], 'file'))}")
    top, _, key = rest.partition("/")
    if "@" in top:
        raise UserError(shown(text), "its credentials are not taken from a URL", "give them in the environment")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", top):
        raise UserError(shown(text), "names no bucket", f"for example {scheme}://bucket/folder")
    key = key.strip("/")
    if key:
        checked(key, shown(text))
    return f"{scheme}://{top}" + (f"/{key}" if key else "")


def claim(place: str | Path, owner: str) -> bool:
    """Have a folder be one owner's alone; tell whether that is new. Raises UserError where it is another's, or cannot be had."""
    there = folder(place)
    if not _says(there, owner) and there.create(OWNER, owner.encode()):
        return True
    if not _says(there, owner):  # which may be there since just now
        raise UserError(there.url, "has the files of another library", "name a folder of its own for each")
    return False


@contextlib.contextmanager
def claimed(url: str, owner: str) -> Iterator[None]:
    """Claim a folder, if one is named, for what then fails or succeeds: where it fails, the folder is as it was."""
    new = bool(url) and claim(url, owner)
    try:
        yield
    except BaseException:
        if new and _says(there := folder(url), owner):
            there.delete([OWNER])
        raise


def _says(there: Folder, owner: str) -> bool:
    try:
        return there.read(OWNER) == owner.encode()
    except FileNotFoundError:
        return False


def folder(place: str | Path) -> Folder:
    """Return the folder at a URL or path, which need not be there yet. Raises UserError as `check` does, and without obstore."""
    url = check(place)
    if not is_url(url) or url.startswith("file:"):
        return disk.folder(url)
    return bucket.folder(url)
