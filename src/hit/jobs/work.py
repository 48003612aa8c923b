"""What happens in the process of a job, and what kinds of jobs there are."""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from hit import deployment, intake, journal, logs, moderation, sources, traces
from hit.analysis import ServingEncoder
from hit.errors import AwayError, EndedError, UserError
from hit.files import BusyError
from hit.library import Library
from hit.pulse import Pulse, reason
from hit.remote import Remote, is_url
from hit.sources import Failure
from hit.tagging import apply as applying
from hit.upkeep import remove

log = logging.getLogger(__name__)

Kind = Callable[[Library, Pulse, Mapping[str, Any]], Mapping[str, Any]]
_NICE = 5  # who searches goes first
_LISTED = 100  # files that failed


def main(path: Path, number: int, owner: str, kind: Kind, encoder: ServingEncoder | None) -> None:
    """Do the job that `owner` has claimed in the library at `path`. SIGTERM ends it; it ends with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; it is for the parent to act on
    signal.signal(signal.SIGTERM, _end)
    threading.Thread(target=_follow_parent, daemon=True).start()
    os.nice(_NICE)
    described = deployment.read()
    logs.set_up(described.log)
    traces.start(described.trace)
    with Library.open(path, encoder=encoder, mend=False) as library, journal.logged(path / "library.log"):
        job, library.pool = library.db.job(number), described.pool
        asked, parent = (job.detail.get(key, "") for key in traces.KEYS)
        with traces.about(asked, number), traces.span("job", parent, kind=job.kind), _pulse(library, number, owner) as pulse:
            log.info("%s begins", job.kind)
            ending = _run(kind, library, pulse, job.detail)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            pulse.say()
        ending()
    traces.stop()


def _pulse(library: Library, number: int, owner: str) -> Pulse:
    library.pulse = Pulse(library.db, number, owner, lambda: os._exit(1))
    return library.pulse


def _run(kind: Kind, library: Library, pulse: Pulse, detail: Mapping[str, Any]) -> Callable[[], None]:
    """Do the work, and return what notes how it ended."""
    db, number, owner, result = library.db, pulse.number, pulse.owner, pulse.result
    try:
        result |= kind(library, pulse, detail)
    except (EndedError, BusyError) as error:  # BusyError: a writer that has no job; it waits its turn
        why = str(error)
        return lambda: db.free_job(number, owner, blameless=True, why=why)
    except AwayError as error:  # a try: who stays away for long has it fail at last
        why = reason(error)
        return lambda: db.free_job(number, owner, why=why)
    except Exception as error:
        if not isinstance(error, UserError):
            log.exception("job %d", number)
        why = reason(error)
        return lambda: db.end_job(number, owner, "failed", result, why)
    return lambda: db.end_job(number, owner, "done", result)


def _end(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once: what is written down meanwhile is not disturbed
    raise EndedError("the job", "was told to end")


def _follow_parent() -> None:
    """End this process when its parent has died, so that another may take the job over."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a job's process has a parent"
    wait([parent.sentinel])
    os._exit(1)


# -- kinds


def index(library: Library, pulse: Pulse, detail: Mapping[str, Any]) -> Mapping[str, Any]:
    """Bring files, folders and, with `http`, web addresses, `sources`, into the library.

    retry: whether files that failed are tried again. within: folders that nothing may lead out of, by whatever links.
    """
    names, retry, http = detail["sources"], bool(detail.get("retry")), bool(detail.get("http"))
    if "within" not in detail:
        return _indexed(library, pulse, names, retry, http)
    roots = [Path(str(library.db.roots.locate(root))).resolve() for root in detail["within"]]
    here = [name for name in names if not is_url(name) and not is_url(str(library.db.roots.given(name)))]
    found = sources.find(here, remote=Remote(library.path / "remote"), roots=library.db.roots)
    inside = [path for path in found.paths if any(Path(str(path)).resolve().is_relative_to(root) for root in roots)]
    elsewhere = [name for name in names if name not in here]
    result = dict(_indexed(library, pulse, [*map(str, inside), *elsewhere], retry, http))
    outside = [
        Failure(library.db.roots.portable(path), "leads out of the folders that may be indexed")
        for path in set(found.paths).difference(inside)
    ]
    pulse.result["failed"] += len(found.failed) + len(outside)
    result["failures"] = [*result["failures"], *_listed(library, [*found.failed, *outside])]
    return result


def reindex(library: Library, pulse: Pulse, detail: Mapping[str, Any]) -> Mapping[str, Any]:
    """Look at `videos` and embed them anew; their tags and titles stay."""
    wanted = set(detail["videos"])
    known = {path: file.video for path, file in library.db.files().items() if file.video in wanted}
    there = {path: video for path, video in known.items() if not library.db.roots.gone(path)}
    if not there:
        raise UserError(", ".join(sorted(wanted)), "no file of it is there", "bring it back to where it was, or remove the video")
    library.db.set_back(set(there.values()))
    return _indexed(library, pulse, sorted(there), True, False)


def forget(library: Library, pulse: Pulse, detail: Mapping[str, Any]) -> Mapping[str, Any]:
    """Remove `videos`. Those that are gone already are no error: an attempt that was killed may have done it."""
    known = [video for video in detail["videos"] if library.db.named(video)]
    return {"removed": remove.remove(library, known)["removed"]} if known else {"removed": []}


def tag(library: Library, pulse: Pulse, detail: Mapping[str, Any]) -> Mapping[str, Any]:
    """Tag the library by a `version` of a `label_set`."""
    with pulse.part("Loading the model", None):
        _ = library.encoder
    return applying.apply(library, detail["label_set"], detail["version"])


def judge(library: Library, pulse: Pulse, detail: Mapping[str, Any]) -> Mapping[str, Any]:
    """Judge all videos, or `videos`, by the policies that are in force, all or `policies`."""
    return moderation.judge(library, detail.get("videos"), pulse.watched(), detail.get("policies"))


def _indexed(library: Library, pulse: Pulse, names: list[str], retry: bool, http: bool) -> Mapping[str, Any]:
    with pulse.part("Loading the model", None):
        _ = library.encoder
    report = library.index(names, retry=retry, http=http)
    counts = {"unchanged": report.unchanged, "moved": report.moved, "duplicates": report.duplicates}
    return {**counts, "failures": _listed(library, report.failed), **intake.follow(library, report.changed, pulse.watched())}


def _listed(library: Library, failures: Sequence[Failure]) -> list[dict[str, str]]:
    return [{"path": library.db.roots.portable(one.path), "reason": one.reason} for one in failures[:_LISTED]]


KINDS: dict[str, Kind] = {
    "index": index,
    "reindex": reindex,
    "remove": forget,
    "tag": tag,
    "judge": judge,
}  # others add theirs, which must pickle by name
