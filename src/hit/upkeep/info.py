"""What a library holds, and where."""

from collections.abc import Mapping
from typing import Any

from hit import arrays, index, traces
from hit.db import Job, copies, upkeep
from hit.errors import UserError
from hit.library import CACHE, COPIES, UPLOADS, Library
from hit.models import TOP as MODELS
from hit.stock import FETCHED
from hit.upkeep import sizes

_JOBS = 5


def info(library: Library, taken: Mapping[str, int] | None = None) -> dict[str, Any]:
    """Return a library's totals, models, store, database, bytes, newest jobs and saved searches. Nothing is loaded or changed.

    taken: what `measure` said lately, so that not all files need to be looked at again.
    """
    model = library.config.model
    found = models(library)
    living = next((one["vectors"] for one in found if one["current"]), 0)
    return {
        "library": str(library.path),
        **upkeep.totals(library.db),
        "models": found,
        "model": {"id": model.id, "revision": model.revision, "folder": model.absolute},
        "store": _store(library, living),
        "database": upkeep.kind(library.db),
        "objects": library.config.objects,
        "bytes": measure(library) if taken is None else dict(taken),
        "jobs": [_job(job) for job in library.db.jobs(_JOBS)],
        "searches": list(library.db.saved_searches()),
    }


def _job(job: Job) -> dict[str, Any]:
    detail = {key: value for key, value in job.detail.items() if key not in ("result", *traces.KEYS)} | job.detail.get(
        "result", {}
    )
    return {"kind": job.kind, "state": job.state, "begun_at": job.begun_at, "ended_at": job.ended_at, **detail}


def models(library: Library) -> list[dict[str, Any]]:
    """Return the revisions of models that a library has vectors of."""
    return [
        {
            "revision": stored.revision,
            "current": stored.revision == library.config.model.revision,
            "dim": stored.dim,
            "vectors": count,
            "dead": stored.rows - count,
            "bytes": stored.rows * 4 * stored.dim,
        }
        for stored, count in upkeep.arrays(library.db).items()
    ]


def _store(library: Library, living: int) -> dict[str, Any]:
    kind = library.config.store.partition(":")[0] or "local"
    about = {"kind": kind, "where": library.config.store or str(library.path / library.stored.name)}
    try:
        count = library.store.count()
    except UserError as error:
        return about | {"vectors": None, "in_step": False, "error": str(error)}
    return about | {"vectors": count, "in_step": count == living, "error": None}


def measure(library: Library) -> dict[str, int]:
    """Return how many bytes the parts of a library take, and all of it."""
    path = library.path
    rows = [file.lstat().st_size for file in sizes.tree(path / "embeddings") if file.name == arrays.NAME]
    parts = {
        "database": sum(sizes.of(path / f"library.db{end}") for end in copies.ENDS),
        "arrays": sum(rows),
        "store": sizes.of(path / "embeddings") - sum(rows),
        "thumbnails": sizes.of(path / index.POSTERS),
        "fetched": sizes.of(path / FETCHED),
        "remote": sizes.of(path / COPIES),
        "uploads": sizes.of(path / UPLOADS),
        "cache": sizes.of(path / CACHE),
        "backups": sizes.of(path / copies.FOLDER),
        "model": sizes.of(path / "model") + sizes.of(path / MODELS),
        "logs": sizes.of(path / "library.log") + sizes.of(path / index.JOURNAL),
    }
    return {**parts, "all": sizes.of(path)}
