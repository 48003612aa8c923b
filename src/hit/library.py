"""A library folder: the one place that wires model, database, store and verbs together.

library.toml    the model that it is searched with, and how videos are cut
model/          a zero-shot model, where none was given
library.db      SQLite: the truth, unless PostgreSQL holds it
embeddings/     an array of vectors for each model revision, and beside it what the local store derives from it
thumbnails/     a JPEG for each segment
remote/         copies of videos that were given by URL
uploads/        videos that were sent to it: their only copies
cache/          what a service made of videos to show them; it may go at any time
fetched/        copies of files in the object store, if the library's are there; they may go at any time
library.log     what went wrong, file by file
journal.jsonl   what became of each file that was looked at, see `hit.journal`
"""

import contextlib
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self, TypedDict, TypeVar, Unpack

from hit import analysis, deployment, embeddings, examples, files, journal, models, objects, settings, sources, stores
from hit import describe as describing
from hit import index as indexing
from hit import search as searching
from hit.analysis import ServingEncoder
from hit.calibration import Calibration
from hit.db import Database, StaleError, Stored, copies, shared, upkeep
from hit.errors import UserError
from hit.examples import Like, Named
from hit.pool import Limits
from hit.pulse import Pulse, working
from hit.remote import Remote
from hit.segments import SegmentConfig
from hit.settings import LibraryConfig
from hit.types import Expert, Judge, Progress, Silent, Store, Where

T = TypeVar("T")
UPLOADS, CACHE, COPIES, KEY = "uploads", "cache", "remote", "webhook.key"  # the last: a secret, that webhooks are signed with
_WAIT = 10.0  # seconds for another process that indexes


class Making(TypedDict, total=False):
    """What a new library may be told; see `Library.create`."""

    segments: SegmentConfig | None
    database: str
    store: str
    say: Callable[[str], None]


class Library:
    """An open library. `Library.create` makes one, `Library.open` opens one; both are context managers.

    wrap: what a model is made into whenever one is loaded, for whom many threads search.
    """

    wrap: Callable[[ServingEncoder], ServingEncoder] = staticmethod(lambda encoder: encoder)

    def __init__(self, path: Path, config: LibraryConfig, encoder: ServingEncoder | None, mend: bool = True) -> None:
        self.path, self.config = path, config
        self._look: object = None  # what told that the settings are these
        self._given = self._loaded = encoder  # whoever opens a library with an encoder means to index with that one
        self._model: Path | None = None  # its folder, if it has one
        self._experts: dict[str, Expert] | None = None
        self._judge: Judge | Literal[False] | None = False  # None: the model has none; False: nobody looked yet
        self.db = Database(settings.database_of(path, config), path, config.objects)
        self._stored: Stored | None = None
        self._store: Store | None = None
        self.pulse: Pulse | None = None  # of the job of the queue that is worked on
        self.pool = ""  # who looks at videos, see `hit.pool.stream`
        self._guard = threading.RLock()  # several threads may search: over what `renew` replaces
        if self.db.remote:
            self.renew()  # library.toml may be of yesterday
        if mend:
            self._mend()

    @classmethod
    def create(
        cls,
        path: Path,
        model: Path | None = None,
        *,
        encoder: ServingEncoder | None = None,
        segments: SegmentConfig | None = None,
        database: str = "",
        store: str = "",
        say: Callable[[str], None] = print,
    ) -> Self:
        """Make a library in a new or empty folder, for a model folder; without one it makes a zero-shot model of its own.

        `database` and `store` are as in `LibraryConfig`; empty, they are hit.toml's. `say` is told what is fetched for a model,
        and what it goes without. Raises UserError for a folder that holds other things.
        """
        mine = path / "model"  # where a run was killed before there was a library, it is there already
        settings.check_free(path, ("model", models.TOP))
        places = deployment.read().library
        database, store = database or places.database, store or places.store
        settings.check(database)
        if encoder is None:
            from hit import zeroshot  # late, as in `_load`

            model = model or (mine if (mine / "card.json").exists() else zeroshot.make_whole(mine, say))
            encoder = _load(model)
        path.mkdir(parents=True, exist_ok=True)
        if database:
            with contextlib.closing(Database(database, path)) as db:
                if not upkeep.empty(db):
                    raise UserError("the database", "holds the records of another library", "name one of its own for each")
        made_by, place, own = settings.reference(path, model, encoder), objects.check(places.objects), secrets.token_hex(4)
        config = LibraryConfig(made_by, segments or SegmentConfig(), database, stores.address(store), place, own)
        settings.write(path, config)
        try:
            with objects.claimed(place, own):
                return cls.open(path, encoder=encoder)
        except UserError:  # also for a database or a store that cannot be reached: nothing is begun
            (path / "library.toml").unlink(missing_ok=True)  # two may have begun at once
            if not database:
                copies.forget(path / "library.db")
            raise

    @classmethod
    def prepare(cls, path: Path, model: Path | None, **making: Unpack[Making]) -> Self:
        """Open a library, join it, or make it where there is none. Raises UserError for a database or store that it has not."""
        if not (path / "library.toml").exists() and not settings.join(path, making.get("database", "")):
            return cls.create(path, model, **making)
        library = cls.open(path, model)
        for kind, has in (("database", library.config.database), ("store", library.config.store)):
            if (wanted := making.get(kind)) and has not in (wanted, stores.address(str(wanted))):
                library.close()
                fix = "leave the option out" if kind == "database" else "to change it, use `hit library move`"
                raise UserError(path, f"is a library already, with another {kind}", fix)
        return library

    @classmethod
    def open(cls, path: Path, model: Path | None = None, *, encoder: ServingEncoder | None = None, mend: bool = True) -> Self:
        """Open a library, or join it: see `settings.found`.

        With a model (its folder, or an encoder) the next `index` goes over to it. What a store lacks is made good, unless `mend`
        says otherwise: the store is then opened when it is first needed. Raises UserError for a folder that is no library, or
        that a newer program wrote.
        """
        library = cls(path, settings.found(path), encoder or (_load(model) if model else None), mend)
        library._model = model
        return library

    def close(self) -> None:
        """Let go of the database and the store."""
        self._let_go()
        self.db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def stored(self) -> Stored:
        """The array of the current model's vectors."""
        with self._guard:
            if self._stored is None:
                self._stored = self.db.stored(self.config.model.revision, self.config.model.dim)
            return self._stored

    @property
    def store(self) -> Store:
        """The store of that array, opened when it is first needed."""
        with self._guard:
            if self._store is None:
                self._store = self.store_of(self.stored)
            return self._store

    def store_of(self, stored: Stored, uri: str | None = None) -> Store:
        """Open the store of an array, where this library's are, or at another address."""
        where = self.config.store if uri is None else uri
        if where:
            return stores.open(where, stored.dim, f"{self.config.id}_{stored.dim}/{stored.revision}_{stored.generation}")
        return stores.open(self.path / stored.name, stored.dim)

    def renew(self) -> bool:
        """Take notice of what other processes have made of the settings and the array; tell whether these are others now."""
        with self._guard:  # all of it: who read earlier must not turn back what another thread has turned
            look = settings.look(self.path, self.db)
            config = self.config if look == self._look and look else settings.now(self.path, self.db, self.config)
            self._look = look
            stored = self.db.stored(config.model.revision, config.model.dim)
            if config == self.config and stored.name == self.stored.name:
                self._stored = stored
                return False
            self._turn(config)
            return True

    def change(self, config: LibraryConfig) -> None:
        """Go over to other settings, for good. The caller keeps other writers out."""
        settings.write(self.path, config, self.db)
        self._turn(config)

    @contextlib.contextmanager
    def writing(self, wait: float | None = None) -> Iterator[None]:
        """Keep other writers out, those of other machines too, and have a full disk told in one line.

        Raises BusyError where another one is at work for longer than `wait` seconds, and AwayError, in the next change of the
        records, where another machine may write because the connection to the database was lost.
        """
        wait = _WAIT if wait is None else wait
        with files.room(self.path), files.locked(self.path / ".lock", wait), shared.writing(self.db, self.config.id, wait):
            self.renew()
            yield

    def job(self, kind: str, detail: dict[str, Any]) -> AbstractContextManager[Pulse]:
        """Note in the database that work is done, and how it ended; within a job of the queue, that is the job."""
        return contextlib.nullcontext(self.pulse) if self.pulse else working(self.db, kind, detail)

    @property
    def encoder(self) -> ServingEncoder:
        """The model, loaded when it is first needed."""
        with self._guard:
            if self._loaded is None:
                self._loaded = self.wrap(_load(settings.model_here(self.path, self.config)))
            return self._loaded

    @property
    def judge(self) -> Judge | None:
        """The model's calibration, if it has one."""
        with self._guard:
            if self._judge is False:
                folder = settings.model_folder(self.path, self.config.model)
                self._judge = Calibration.load(folder, self.config.model.revision) if folder else None
            return self._judge

    @property
    def experts(self) -> Mapping[str, Expert]:
        """The model's experts, loaded when they are first needed."""
        with self._guard:
            if self._experts is None:
                self._experts = analysis.load_experts(self.encoder.experts, self.encoder.identities)
            return self._experts

    def index(
        self,
        names: Sequence[str | Path],
        *,
        lists: Sequence[str] = (),
        http: bool = False,
        max_download: float = 20.0,
        workers: int = 0,
        limits: Limits | None = None,
        retry: bool = False,
        progress: Progress | None = None,
    ) -> indexing.Report:
        """Bring files, folders, URLs and what patterns and lists name into the library; see `hit.sources` and `hit.index`.

        `self.pool` looks at them. Web addresses are fetched only with `http`, and no file of more than `max_download` GiB. With
        a new model, everything known is embedded anew. Raises UserError for a name that fits nothing, BusyError as `writing`.
        """
        chosen = [str(name) for name in names]
        with self.writing(), journal.logged(self.path / "library.log"):
            encoder, store, revision = self.encoder, self.store, self.config.model.revision
            if changed := encoder.revision != revision:
                if self._given is None:
                    why = f"its model has changed from revision {revision} to {encoder.revision}"
                    raise UserError(self.path, why, "to embed everything anew, name the model with --model")
                store = self.store_of(self.db.stored(encoder.revision, encoder.dim))
                chosen += [name for name in self.db.files() if not self.db.roots.gone(name)]
            crew = analysis.crew(encoder.experts, encoder.identities, self.config.segments)
            with self.job("index", {"sources": sources.called(chosen, self.db.roots), "revision": encoder.revision}) as job:
                progress = job.watched(progress or Silent())
                remote = Remote(self.path / COPIES, http, max_download, progress, self.db.objects)
                report = indexing.index(
                    sources.find(chosen, lists=lists, remote=remote, roots=self.db.roots),
                    db=self.db,
                    store=store,
                    encoder=encoder,
                    look=lambda jobs: crew(jobs, workers, limits, self.pool),
                    folder=self.path,
                    retry=retry,
                    progress=progress,
                )
                job.result |= {"added": report.added, "failed": len(report.failed), "seconds": round(report.seconds, 3)}
            if changed or self._model:
                if changed:
                    store.close()
                self.change(replace(self.config, model=settings.reference(self.path, self._model, encoder)))
            settings.share_model(self.path, self.config)
        return report

    def search(
        self,
        texts: str | Sequence[str] = (),
        *,
        videos: Sequence[Named] = (),
        images: Sequence[Path] = (),
        exclude: str | Sequence[str] = (),
        exclude_videos: Sequence[Named] = (),
        level_weights: Sequence[float] | None = None,
        **options: Unpack[searching.Options],
    ) -> searching.Answer:
        """Return the segments that fit best; see `hit.search`. A video may be a stretch of one: "film.mp4#t=10,20".

        Raises UserError for a query that cannot be made.
        """

        def ask(shelf: searching.Shelf) -> searching.Answer:
            encoder = shelf.encoder
            query = searching.Query(
                texts=[texts] if isinstance(texts, str) else texts,
                examples=[
                    *(self._look_at(one, shelf.stored) for one in videos),
                    *([analysis.look_at_image(self.db.roots.given(path), self.experts)] for path in images),
                ],
                exclude=[exclude] if isinstance(exclude, str) else exclude,
                exclude_examples=[self._look_at(one, shelf.stored) for one in exclude_videos],
                weights=encoder.weights if level_weights is None else embeddings.weights(level_weights, encoder.parts),
                **options,
            )
            return searching.search(query, shelf)

        return self.asked(ask)

    def describe(
        self, videos: Sequence[Named], texts: Path | Sequence[str], limit: int = 10, weights: Sequence[float] | None = None
    ) -> dict[str, Any]:
        """Return the texts, or those of a file, that fit each video best; see `hit.describe`. The library's are not decoded.

        Raises UserError where there are no texts, NotFoundError or UserError for a video that is not known or cannot be read.
        """
        wanted = describing.read_texts(texts) if isinstance(texts, Path) else describing.distinct("the texts", texts)

        def ask(shelf: searching.Shelf) -> dict[str, Any]:
            encoder = shelf.encoder
            own = None if weights is None else embeddings.weights(weights, encoder.parts)
            seen = [describing.look_at(one, shelf.db, shelf.stored, encoder, self._analyse) for one in videos]
            found = describing.describe(seen, wanted, encoder, weights=own, judge=shelf.judge, limit=limit)
            return {"videos": found, "model": {"id": encoder.id, "revision": encoder.revision}}

        return self.asked(ask)

    def asked(self, ask: Callable[[searching.Shelf], T]) -> T:
        """Return what `ask` makes of what is searched just now; it is asked again where another process replaced that meanwhile.

        Raises UserError where the model is not the one that made the vectors, before anything is decoded.
        """
        while True:
            shelf = self._shelf()
            searching.check(shelf.encoder, shelf.stored)
            try:
                return ask(shelf)
            except Exception as error:  # StaleError, or what comes of a store that another process gave up
                known = not self.renew() and self._store is shelf.store  # another thread may have taken notice first
                if known and not isinstance(error, StaleError):
                    raise

    def _shelf(self) -> searching.Shelf:
        """Return what is searched just now, with notice taken of what other processes have made of the settings."""
        with self._guard:
            if settings.look(self.path, self.db) != self._look:  # rows with other numbers are noticed by the database
                self.renew()
            return searching.Shelf(self.db, self.store, self.stored, self.encoder, self.db.top / indexing.POSTERS, self.judge)

    def _analyse(self, path: Where) -> list[analysis.Piece]:
        return analysis.analyse("query", path, self.experts, self.config.segments)

    def _look_at(self, video: Named, stored: Stored) -> searching.Example:
        if isinstance(video, Like):
            return examples.chosen(self.db, stored, video)[1]
        return examples.look_at_video(video, self.experts, self.config.segments, self.db.roots)

    def _mend(self) -> None:
        """Make the store hold what the database says; a writer at work does this itself."""
        with contextlib.suppress(files.BusyError), self.writing(0):
            indexing.repair(self.db, self.store, self.stored)

    def _turn(self, config: LibraryConfig) -> None:
        with self._guard:
            self._judge = False
            if config.model.revision != self.config.model.revision and self._given is None:
                self._loaded = self._experts = None
            self.config = config
            self.db.keep_in(config.objects)
            self._let_go()

    def _let_go(self) -> None:
        if self._store:
            self._store.close()
        self._store = self._stored = None


def _load(model: Path) -> ServingEncoder:
    # Imported late: a library with an encoder of its own works without torch.
    from hit.zeroshot import open_encoder

    return open_encoder(model)
