"""The library.toml: what a library was made with, and where its parts are.

Where its database is a server's, that one is the truth for all machines that have the library open, and the library.toml of each
is a copy, but for the address of the database. A machine that has nothing joins by its hit.toml.
"""

import contextlib
import json
import os
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import tomli_w

from hit import config as configs
from hit import deployment, files, models
from hit.arrays import Matrix
from hit.db import Database, shared
from hit.errors import UserError
from hit.segments import SegmentConfig
from hit.types import Encoder

_FORMAT = 1
# What may lie in a folder that joins: parts that machines share by other means, and what belongs to one machine.
_PARTS = (
    *("model", models.TOP, "embeddings", "thumbnails", "remote", "uploads", "cache", "fetched"),
    *("library.log", "serve.toml", "hit.toml"),
)


@dataclass(frozen=True)
class ModelReference:
    """The model whose vectors are searched, and where its folder was; see `model_folder`."""

    id: str
    revision: str
    dim: int
    relative: str = ""
    absolute: str = ""


@dataclass(frozen=True)
class LibraryConfig:
    """The library.toml."""

    model: ModelReference
    segments: SegmentConfig = field(default_factory=SegmentConfig)
    database: str = ""  # URL; empty: library.db
    store: str = ""  # URI of the vector store, see `hit.stores`; empty: the local one, beside the arrays
    objects: str = ""  # URL of a folder for all that is a file, arrays too, see `hit.objects`; empty: the library's
    id: str = ""  # tells apart what several libraries have in one store
    format: int = _FORMAT


def check(database: str) -> None:
    """Raise UserError for a database's URL that library.toml is no place for: it bears a password, or names no file in full."""
    parts = urlsplit(database)
    if parts.scheme.startswith("sqlite") and not parts.path.startswith("//"):  # another one in each folder, or in memory only
        raise UserError("the database", "its URL does not name a file in full", "write sqlite:////FOLDER/FILE.db")
    if parts.password or "password=" in parts.query:
        fix = "leave it out, and give it by PGPASSWORD or ~/.pgpass"
        raise UserError("the database", "its URL bears a password, which would be written to library.toml", fix)


def check_free(path: Path, parts: Container[str]) -> None:
    """Raise UserError for a folder that cannot become a library: other things than these parts, or hidden ones, are in it."""
    if path.exists() and (not path.is_dir() or any(one.name[0] != "." and one.name not in parts for one in path.iterdir())):
        raise UserError(path, "not a library, and not empty", "choose another folder")


def database_of(path: Path, config: LibraryConfig) -> str:
    """Return the URL of a library's database."""
    return config.database or f"sqlite:///{quote(str(path / 'library.db'))}"


def read(path: Path) -> LibraryConfig:
    """Return the settings of the library in a folder.

    Raises UserError for a folder that is no library, or that a newer program wrote.
    """
    if (table := configs.read(path / "library.toml")) is None:
        raise UserError(path, "not a library", "make one with `hit index LIBRARY PATH`")
    return _built(table, path / "library.toml")


def _built(table: Mapping[str, Any], where: object) -> LibraryConfig:
    if isinstance(table.get("format"), int) and table["format"] > _FORMAT:
        raise UserError(where, f"its format {table['format']} is newer than this program's {_FORMAT}", "upgrade hit")
    return configs.build(LibraryConfig, table, str(where))


def look(path: Path, db: Database) -> object:
    """Return what tells one state of a library's settings from another, as cheap as can be; None where there are none."""
    if db.remote:
        return shared.settings(db)
    try:
        about = (path / "library.toml").stat()
    except FileNotFoundError:
        return None
    return about.st_ino, about.st_mtime_ns, about.st_size


def now(path: Path, db: Database, mine: LibraryConfig) -> LibraryConfig:
    """Return the settings that hold, and have library.toml say them; `mine` are those that held.

    A server's database that has none yet is told mine. Raises UserError for one that is another library's.
    """
    if not db.remote:
        return read(path)
    if (table := shared.settings(db)) is None:
        shared.change(db, _shared(mine), first=True)
        table = shared.settings(db) or {}
    config = replace(_built(table, "the database"), database=mine.database)
    if config.id != mine.id:
        raise UserError("the database", "holds the records of another library", "name one of its own for each")
    if config != mine:
        with contextlib.suppress(OSError):  # it is but a copy, and who only searches may have no right to write it
            write(path, config)
    return config


def found(path: Path) -> LibraryConfig:
    """Return the settings of the library in a folder, which joins that of hit.toml's database where it is none yet.

    Raises as `read` and `join` do.
    """
    return (None if (path / "library.toml").exists() else join(path)) or read(path)


def join(path: Path, database: str = "") -> LibraryConfig | None:
    """Have a folder without a library.toml be one more of the library that the database of hit.toml holds.

    None where hit.toml names no database, or another than `database`, or one without a library. Raises UserError for a folder
    that holds other things, and for a library whose vectors are searched, or are, on one machine only.
    """
    url = deployment.read().library.database
    check(url)
    if not url or database not in ("", url) or (there := shared.peek(url)) is None:
        return None
    table, arrays = there
    check_free(path, _PARTS)
    config = replace(_built(table, "the database"), database=url)
    if not config.store.startswith(("http://", "https://")):
        what = "the library of this database has its vectors in a store of one machine"
        raise UserError(path, what, "bring them to a server there: `hit library move LIBRARY --to http://HOST:19530`")
    for stored in () if config.objects else arrays:
        try:
            Matrix(path / stored.name, stored.dim).view(stored.rows)  # where machines share the folder of arrays
        except EOFError:
            what = "the library of this database has its vectors in files of one machine"
            fix = "move them to an object store: `hit library move LIBRARY --objects URL`, or share its folder `embeddings`"
            raise UserError(path, what, fix) from None
    path.mkdir(parents=True, exist_ok=True)
    write(path, config)
    return config


def reference(library: Path, model: Path | None, encoder: Encoder) -> ModelReference:
    """Return what a library is to remember of its model, and of the folder that it was loaded from."""
    absolute = str(model.resolve()) if model else ""
    relative = os.path.relpath(absolute, library.resolve()) if model else ""
    return ModelReference(encoder.id, encoder.revision, encoder.dim, relative, absolute)


def write(path: Path, config: LibraryConfig, db: Database | None = None) -> None:
    """Write a library's settings, whole; with its database for all machines, too."""
    if db:
        shared.change(db, _shared(config))
    files.write_whole(path / "library.toml", tomli_w.dumps(configs.to_table(config)).encode())


def _shared(config: LibraryConfig) -> dict[str, Any]:
    return {key: value for key, value in configs.to_table(config).items() if key != "database"}  # which may be reached otherwise


def model_folder(library: Path, model: ModelReference) -> Path | None:
    """Return the folder of a library's model, there or not; None for an encoder that came without one.

    Looked at are the folder that lay there as seen from the library, the one where it was, LIBRARY/model, and those in
    LIBRARY/models and in hit.toml's folder of models: the first that says it is this revision, else the first that is there.
    """
    if not model.absolute:
        return None
    first: Path | None = None
    for folder in _places(library, model):
        if revision(folder) == model.revision:
            return folder
        if first is None and folder.exists():
            first = folder
    return first or Path(model.absolute)


def _places(library: Path, model: ModelReference) -> Iterator[Path]:
    if model.relative:
        yield (library / model.relative).resolve()
    yield Path(model.absolute)
    yield library / "model"
    yield from sorted(one.parent for one in (library / models.TOP).glob("*/card.json"))
    if folder := deployment.read().library.models:
        yield from sorted(one.parent for one in Path(folder).glob("*/card.json"))


def revision(folder: Path) -> str | None:
    """Return of which revision the model in a folder is; None where that is not said."""
    try:
        return str(json.loads((folder / "card.json").read_text())["revision"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def model_here(library: Path, config: LibraryConfig) -> Path:
    """Return the folder of a library's model, to be loaded; from the object store where this machine does not have it.

    Raises NoModelError where it is not there either.
    """
    model = config.model
    folder = model_folder(library, model) or Path()
    if config.objects and model.absolute and revision(folder) != model.revision:
        with contextlib.suppress(models.NoModelError):
            return models.fetch(models.of_revision(config.objects, model.revision), library / models.TOP)
    if not folder.exists():
        fix = f"copy it to there or to {library / 'model'}, or name a folder of models in hit.toml: [library] models"
        raise models.NoModelError(folder, f"the model {model.id} of revision {model.revision} is not on this machine", fix)
    return folder


def share_model(library: Path, config: LibraryConfig) -> None:
    """Have the model where all machines find it, if the library's files are in an object store."""
    folder = model_folder(library, config.model) if config.objects else None
    if folder and revision(folder) == config.model.revision:
        models.send(folder, models.of_revision(config.objects, config.model.revision))
