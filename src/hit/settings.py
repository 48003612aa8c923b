"""The library.toml: what a library was made with, and where its parts are."""

import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import tomli_w

from hit import config as configs
from hit import files
from hit.errors import UserError
from hit.segments import SegmentConfig
from hit.types import Encoder

_FORMAT = 1


@dataclass(frozen=True)
class ModelReference:
    """The model whose vectors are searched. Its folder is looked for beside the library first, then where it was."""

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


def read(path: Path) -> LibraryConfig:
    """Return the settings of the library in a folder.

    Raises UserError for a folder that is no library, or that a newer program wrote.
    """
    try:
        table = tomllib.loads((path / "library.toml").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(path, "not a library", "make one with `hit index LIBRARY PATH`") from None
    except OSError as error:
        raise UserError(path / "library.toml", f"cannot be read: {error.strerror}", "see who may read it") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(path / "library.toml", f"not a TOML file: {error}") from None
    if isinstance(table.get("format"), int) and table["format"] > _FORMAT:
        raise UserError(path, f"its format {table['format']} is newer than this program's {_FORMAT}", "upgrade hit")
    return configs.build(LibraryConfig, table, str(path / "library.toml"))


def look(path: Path) -> object:
    """Return what tells one state of a library's settings from another, without reading them; None where there are none."""
    try:
        about = (path / "library.toml").stat()
    except FileNotFoundError:
        return None
    return about.st_ino, about.st_mtime_ns, about.st_size


def reference(library: Path, model: Path | None, encoder: Encoder) -> ModelReference:
    """Return what a library is to remember of its model, and of the folder that it was loaded from."""
    absolute = str(model.resolve()) if model else ""
    relative = os.path.relpath(absolute, library.resolve()) if model else ""
    return ModelReference(encoder.id, encoder.revision, encoder.dim, relative, absolute)


def write(path: Path, config: LibraryConfig) -> None:
    """Write a library's settings, whole."""
    files.write_whole(path / "library.toml", tomli_w.dumps(configs.to_table(config)).encode())


def model_folder(library: Path, model: ModelReference) -> Path | None:
    """Return the folder of a library's model, there or not; None for an encoder that came without one."""
    beside = (library / model.relative).resolve()
    if model.relative and beside.exists():
        return beside
    return Path(model.absolute) if model.absolute else None
