"""A library as one file, and back.

The file is a tar, plain or gzipped, that any tar reads:

    library.toml        without addresses of databases and stores
    library.db          SQLite, whatever the library has its records in
    embeddings/...      the arrays, as many rows as count
    thumbnails/...
    uploads/...         videos that were sent to it
    model/...           the model's folder, without the state of its training, unless it is to be left out
    serve.toml          if there is one
    webhook.key         if there is one: a secret, so that whoever reads the backup can sign webhooks. Nobody but its owner may
    MANIFEST.json       the last one: what it is of, and the size and sha256 of each file

Stores are derived data and are made anew; other videos, and copies of remote ones, stay where they are.
"""

import contextlib
import gzip
import hashlib
import io
import json
import os
import secrets
import shutil
import tarfile
import zlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import quote

import tomli_w

import hit
from hit import arrays, files, models, settings, stores
from hit import config as configs
from hit.db import HEAD, Database, copies, upkeep
from hit.errors import UserError
from hit.index import POSTERS
from hit.library import KEY, UPLOADS, Library
from hit.objects import Folder
from hit.settings import LibraryConfig
from hit.types import Progress, Silent
from hit.upkeep import pieces, shelves, sizes
from hit.upkeep.tars import Written, private

FORMAT = 1
MANIFEST = "MANIFEST.json"
SUFFIXES = (".tar", ".tar.gz", ".tgz")
_OWN = ("serve.toml", KEY)
_TOPS = {"library.toml", "library.db", "embeddings", "thumbnails", UPLOADS, "model", MANIFEST, *_OWN}
_BLOCK = 1 << 20  # bytes copied at once
_LARGE = 8 << 20  # bytes of a file that is not held in memory
_PATIENCE = 600.0  # seconds for a writer, where a backup beside it did not succeed


class _GoneError(UserError):
    """A file that the library names is not there: a writer has removed it, or it is lost."""

    def __init__(self, what: object) -> None:
        super().__init__(what, "is missing", "run `hit library verify`")


def backup(library: Library, out: Path, progress: Progress | None = None, model: bool = True) -> dict[str, Any]:
    """Write a library to a file, as it is at one moment; others may go on writing to it meanwhile.

    The model is in it, unless `model` says otherwise or it is neither here nor in the object store. Thumbnails that are lost are
    left out, and counted as "lost". The file appears when it is whole. Raises UserError for another suffix than .tar, .tar.gz
    and .tgz, a folder that is not there, and an array that is lost.
    """
    if not out.name.endswith(SUFFIXES):
        raise UserError(out, "is no name for a backup", f"let it end with {', '.join(SUFFIXES)}")
    if not out.absolute().parent.is_dir() or out.is_dir():
        raise UserError(out, "cannot be written: " + ("it is a folder" if out.is_dir() else "its folder is not there"))
    part, progress = out.with_name(f".{out.name}.part"), progress or Silent()
    writing = _Backup(library, part, out.name.endswith("gz"), progress, _model(library) if model else None)
    try:
        try:
            about = writing.write()
        except _GoneError:  # a writer has removed what was to be copied: once more, with no writer at work
            with library.writing(_PATIENCE):
                about = writing.write(alone=True)
        part.replace(out)
        files.sync_folder(out.absolute().parent)
    except OSError as error:
        raise UserError(out, f"cannot be written: {error.strerror}", "make room, or name another place") from None
    finally:
        part.unlink(missing_ok=True)
    size = out.stat().st_size
    with library.job("backup", {"file": str(out)}) as job:
        job.result |= {"bytes": size, "vectors": about["vectors"]}
    return {"library": str(library.path), "file": str(out), "bytes": size, **{key: about[key] for key in about if key != "files"}}


@dataclass(frozen=True, slots=True)
class _Backup:
    """A backup that is to be written to `part`, with the model in the folder `model`, if that is of the right revision."""

    library: Library
    part: Path
    packed: bool
    progress: Progress
    model: Path | None

    def write(self, alone: bool = False) -> dict[str, Any]:
        """Write it and return its manifest. `alone`: no writer is at work, and what is missing is lost."""
        library, copy = self.library, self.part.with_name(f"{self.part.name}.db")
        with contextlib.ExitStack() as stack:
            stack.callback(copies.forget, copy)
            session = stack.enter_context(upkeep.snapshot(library.db))
            held = _arrays(stack, library, session)
            there = library.db.home.sizes(POSTERS, UPLOADS)
            thumbnails = [f"{POSTERS}/{name}" for name in upkeep.thumbnails(session)]
            lost = [name for name in thumbnails if name not in there] if alone else []
            model = {} if self.model is None or self.strange else _model_files(self.model)
            known = upkeep.names_in(session)
            uploads = [name for name in there if name.startswith(f"{UPLOADS}/") and name.rpartition("/")[2] in known]
            wanted = sorted(set(thumbnails) - set(lost)) + uploads
            _dump(session, copy, self.progress)
            about = self.about(
                model,
                {
                    "vectors": sum(upkeep.arrays_in(session).values()),
                    "thumbnails": len(thumbnails) - len(lost),
                    "lost": len(lost),
                    "uploads": len(uploads),
                },
            )
            size = sum(one.rows * 4 * one.dim for one, _ in held) + copy.stat().st_size + sum(map(sizes.of, model.values()))
            size += sum(there.get(name, 0) for name in wanted)
            raw = stack.enter_context(open(self.part, "wb", opener=private))  # Path.open takes no opener
            file: Any = stack.enter_context(gzip.GzipFile("", "wb", 6, raw)) if self.packed else raw
            with (
                tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar,
                self.progress.task("Backup, MB", size / 1e6) as task,
            ):
                written = Written(tar, task)
                plain = replace(library.config, database="", store="", objects="")
                written.note("library.toml", tomli_w.dumps(configs.to_table(plain)).encode())
                _add(written, "library.db", copy)
                for name in _OWN:
                    if (library.path / name).is_file():
                        _add(written, name, library.path / name)
                    elif name == KEY and (secret := next(pieces.contents(library.db.home, [KEY]))[1]):
                        written.note(KEY, secret)  # of a library that this machine has joined
                for one, array in held:
                    written.add(f"{one.name}/{arrays.NAME}", array, one.rows * 4 * one.dim)
                for name, path in model.items():
                    _add(written, name, path)
                _add_all(written, library.db.home, {name: there.get(name, 0) for name in wanted})
                about["files"] = written.files
                written.note(MANIFEST, (json.dumps(about, indent=1) + "\n").encode())
            if self.packed:
                file.close()
            raw.flush()
            os.fsync(raw.fileno())
        return about

    @property
    def strange(self) -> str:
        """Which other revision than the library's the model's folder is of; empty for none."""
        found = settings.revision(self.model) if self.model else None
        return "" if found in (None, self.library.config.model.revision) else str(found)

    def about(self, model: dict[str, Path], totals: dict[str, int]) -> dict[str, Any]:
        """Return what the manifest says of the whole."""
        reference = self.library.config.model
        where = "in the backup" if model else f"not in the backup: {reference.absolute or 'it has no folder'}"
        if self.strange:
            where = f"not in the backup: {self.model} is of revision {self.strange}, and the library of {reference.revision}"
        size = sum(map(sizes.of, model.values()))
        return {
            "format": FORMAT,
            "made_by": f"hit {hit.__version__}",
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "schema": HEAD,
            "model": {"id": reference.id, "revision": reference.revision, "folder": where, "bytes": size},
            **totals,
        }


def _model(library: Library) -> Path | None:
    """Return the folder of the library's model, fetched from the object store where that has it; None where it cannot be had."""
    if not library.config.model.absolute:
        return None
    try:
        folder = settings.model_here(library.path, library.config)
    except models.NoModelError:
        return None
    return folder if folder.is_dir() else None


def _model_files(folder: Path) -> dict[str, Path]:
    """Return the files of a model by their names in a backup; its training's state, which may be large, is none of them."""
    names = {path.relative_to(folder).as_posix(): path for path in sizes.tree(folder) if path.is_file()}
    return {f"model/{name}": path for name, path in names.items() if not name.startswith("run/")}


def _arrays(stack: contextlib.ExitStack, library: Library, session: Any) -> list[tuple[Any, IO[bytes]]]:
    """Open all arrays: once open, a file stays what it is, whoever removes it."""
    held: list[tuple[Any, IO[bytes]]] = []
    for one in upkeep.arrays_in(session):
        path = library.path / one.name / arrays.NAME
        if not one.rows and not path.exists():
            continue
        try:
            if library.db.objects:
                library.db.array(one).view(one.rows)  # has it here
            file = stack.enter_context(path.open("rb"))
        except (FileNotFoundError, EOFError):
            raise _GoneError(path) from None
        if os.fstat(file.fileno()).st_size < one.rows * 4 * one.dim:
            raise UserError(path, "is damaged", "run `hit library verify`")
        held.append((one, file))
    return held


def _add(written: Written, name: str, path: Path) -> None:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise _GoneError(path) from None
    with file:
        written.add(name, file, os.fstat(file.fileno()).st_size)


def _add_all(written: Written, folder: Folder, wanted: dict[str, int]) -> None:
    """Add files of a folder, by their names and bytes."""
    for name, data in pieces.contents(folder, (name for name, size in wanted.items() if size < _LARGE)):
        if data is None:
            raise _GoneError(name)
        written.add(name, io.BytesIO(data), len(data))
    for name in (name for name, size in wanted.items() if size >= _LARGE):
        with folder.open(name) as large:
            written.add(name, large, wanted[name])


def _dump(session: Any, copy: Path, progress: Progress) -> None:
    """Write the tables to a SQLite file."""
    copies.forget(copy)
    with progress.task("Records", upkeep.size(session)) as task, contextlib.closing(_sqlite(copy)) as database:
        upkeep.copy(session, database, task.advance)


def _sqlite(path: Path) -> Database:
    return Database(f"sqlite:///{quote(str(path.absolute()))}", path.parent)


# -- and back


def restore(file: Path, path: Path, database: str = "", store: str = "", progress: Progress | None = None) -> dict[str, Any]:
    """Make a library of a backup, in a new or empty folder; its records go to SQLite there, or to an empty database.

    Every file is compared with its digest. The library appears when it is whole. Raises UserError for what is no backup, is
    damaged, or comes from a newer program, and for a folder or a database with something in it.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(path, "is not empty", "restore into a new folder")
    settings.check(database)
    store = stores.address(store)
    if not file.is_file():
        raise UserError(file, "there is no such file", "name a backup that `hit library backup` made")
    part, progress = path.with_name(f".{path.name}.part"), progress or Silent()
    begun = _begun(part)
    try:
        if part.exists():  # of a call that was killed
            shutil.rmtree(part)
        part.mkdir(parents=True)
        about = _unpack(file, part, progress)
        counts = _Making(part, path, begun).make(database, store, progress)
        os.sync()
        part.replace(path)
        files.sync_folder(path.absolute().parent)
    except OSError as error:
        raise UserError(path, f"cannot be written: {error.strerror}", "make room, or name another place") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return {"library": str(path), "from": str(file), "made": about["at"], "model": about["model"], **counts}


def _unpack(file: Path, part: Path, progress: Progress) -> dict[str, Any]:
    """Unpack a backup into a folder, and return what its manifest says."""
    damaged = UserError(file, "is no backup of a library, or is damaged", "take another one")
    found: dict[str, dict[str, Any]] = {}
    try:
        with file.open("rb") as raw, _tar(raw) as tar, progress.task("Unpacking, MB", file.stat().st_size / 1e6) as task:
            done = 0
            for member in tar:
                steps = PurePosixPath(member.name).parts
                plain = member.isreg() and not member.issparse() and member.size >= 0  # holes may be larger than any disk
                safe = plain and steps and steps[0] in _TOPS and ".." not in steps and member.name not in found
                source = tar.extractfile(member) if safe else None
                if source is None:
                    raise damaged
                target = part.joinpath(*steps)
                target.parent.mkdir(parents=True, exist_ok=True)
                found[member.name] = _extract(source, target)
                task.advance((raw.tell() - done) / 1e6)
                done = raw.tell()
        manifest = part / MANIFEST
        about: dict[str, Any] = json.loads(manifest.read_text())
        found.pop(MANIFEST)
        manifest.unlink()
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError, KeyError) as error:
        raise damaged from error
    except (FileNotFoundError, IsADirectoryError, FileExistsError, NotADirectoryError) as error:
        raise damaged from error
    if not isinstance(about, dict) or not isinstance(about.get("format"), int):
        raise damaged
    if about["format"] > FORMAT:
        raise UserError(file, f"its format {about['format']} is newer than this program's {FORMAT}", "upgrade hit")
    if found != about.get("files"):
        wrong = [name for name in {**found, **about.get("files", {})} if found.get(name) != about.get("files", {}).get(name)]
        raise UserError(file, f"is damaged: {sorted(wrong)[0]} is not what it was", "take another backup")
    return about


def _tar(raw: IO[bytes]) -> tarfile.TarFile:
    packed = raw.read(2) == b"\x1f\x8b"
    raw.seek(0)
    return tarfile.open(fileobj=raw, mode="r|gz" if packed else "r|")


def _extract(source: IO[bytes], target: Path) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    with open(target, "xb", opener=private if target.name == KEY else None) as out:
        while data := source.read(_BLOCK):
            digest.update(data)
            size += len(data)
            out.write(data)
    return {"size": size, "sha256": digest.hexdigest()}


def _begun(part: Path) -> LibraryConfig | None:
    """Return the settings of a library that a call which was killed has begun to make."""
    try:
        return settings.read(part)
    except UserError:
        return None


@dataclass(frozen=True, slots=True)
class _Making:
    """What was unpacked into `part` becomes a library that will lie at `path`; `begun`: what a killed call had in mind."""

    part: Path
    path: Path
    begun: LibraryConfig | None

    def make(self, database: str, store: str, progress: Progress) -> dict[str, Any]:
        """Write the settings, fill the store, and bring the records into another database, if one is named."""
        config = settings.read(self.part)
        own = self.begun.id if self.begun and self.begun.store == store else secrets.token_hex(4)
        config = replace(config, model=self.model(config.model), store=store, database="", id=own)
        settings.write(self.part, config)
        with contextlib.closing(Library.open(self.part, mend=False)) as library:
            stored = library.stored
            rows = library.db.rows(stored.revision)
            with library.db.read() as session:
                upkeep.thumbnails(session)  # raises for names that lead out of the folder
            pieces.settle(library)
            with contextlib.closing(library.store_of(stored)) as filled:
                shelves.fill(library, stored, filled, rows, progress)
            counts = {**library.db.counts(), "vectors": len(rows)}
            if database:
                settings.write(self.part, replace(config, database=database))
                self.hand_over(library, database, progress)
        if database:
            copies.forget(self.part / "library.db")
        return counts

    def model(self, reference: settings.ModelReference) -> settings.ModelReference:
        if (self.part / "model").exists():
            return replace(reference, relative="model", absolute=str(self.path.absolute() / "model"))
        if reference.absolute:
            return replace(reference, relative=os.path.relpath(reference.absolute, self.path.absolute()))
        return reference

    def hand_over(self, library: Library, url: str, progress: Progress) -> None:
        with contextlib.closing(Database(url, self.part)) as target:
            if not upkeep.empty(target) and not (self.begun and self.begun.database == url):
                raise UserError("the database", "holds a library already", "name an empty one")
            with upkeep.snapshot(library.db) as session, progress.task("Records", upkeep.size(session)) as task:
                upkeep.copy(session, target, task.advance)
