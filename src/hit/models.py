"""Folders of models in object stores, and copies of them here: whole or not at all, whoever else fetches the same.

models/REVISION/...   in a library's object store: the model's files, card.json last
models/KEY/...        in a library's folder: a copy, of just this state of these files
"""

import hashlib
import shutil
from pathlib import Path
from urllib.parse import quote

from hit import files, objects
from hit.errors import AwayError, UserError
from hit.objects import Entry, Folder

TOP = "models"
_CARD = "card.json"
_TRAINING = "run/"  # its state, which may be large and serves nobody


class NoModelError(AwayError):
    """There is no model at a place."""


def here(place: str | None, library: Path) -> Path | None:
    """Return the folder of a model that is named by a path or, copied to a library's folder, by a URL.

    Raises UserError where there is no model at a URL.
    """
    if not place:
        return None
    return fetch(objects.folder(place), library / TOP) if objects.is_url(place) else Path(place)


def of_revision(url: str, revision: str) -> Folder:
    """Return where a library whose files are at a URL has a model."""
    return objects.folder(f"{url}/{TOP}/{quote(revision, safe='')}")


def fetch(source: Folder, copies: Path) -> Path:
    """Copy a model's files to a folder of their own in `copies`, unless they are there. Raises UserError where there are none."""
    entries = _serving(source)
    if _CARD not in {entry.name for entry in entries}:
        raise NoModelError(source.url, f"is no model: it has no {_CARD}", "name the folder of one, as `hit train` writes it")
    target = copies / _key(entries)
    if target.exists():
        return target
    part = files.part_of(target)
    try:
        for entry in entries:
            path = part / entry.name
            path.parent.mkdir(parents=True, exist_ok=True)
            with files.room(path):
                source.download(entry.name, path)
        if _key(_serving(source)) != target.name:
            raise UserError(source.url, "changed while it was fetched", "try again")
        try:
            part.rename(target)
        except OSError:  # another process was quicker
            if not target.exists():
                raise
    except FileNotFoundError as error:
        raise UserError(source.url, f"changed while it was fetched: {error}", "try again") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    files.sync_folder(copies)
    return target


def send(folder: Path, target: Folder) -> bool:
    """Write a model's files to an object store, unless they are there; tell whether they were not."""
    if _CARD in {entry.name for entry in target.list()}:
        return False
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    for name in sorted(paths, key=lambda name: name == _CARD):  # the card says that all of it is there
        if not name.startswith(_TRAINING):
            target.upload(name, paths[name])
    return True


def _serving(source: Folder) -> list[Entry]:
    return [entry for entry in source.list() if not entry.name.startswith(_TRAINING)]


def _key(entries: list[Entry]) -> str:
    """Name a state of some files."""
    text = "\n".join(f"{entry.name} {entry.size} {entry.mark}" for entry in entries)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
