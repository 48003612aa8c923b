"""The doctor: looks at every part of a deployment, all at once, and says how each is, and what mends it.

Nothing is changed, but that a model is fetched that the first search would fetch; and nothing is waited for beyond a time. What
is secret is not shown: what any part says is cleaned of it.
"""

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from hit import deployment, settings
from hit.deployment import Deployment
from hit.doctor import library, machine, services
from hit.doctor.finding import FAIL, OK, Check, Finding
from hit.errors import UserError
from hit.settings import LibraryConfig

SECONDS = 30.0  # for a part to answer
_PATIENT = ("model",)  # which takes so many times longer on a machine that is busy
_TIMES = 4.0
_MARGIN = 0.5  # seconds before the end in which a check puts away what it began
_SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY|PRIVATE|CREDENTIAL|HEADERS", re.IGNORECASE)  # in names of variables


def examine(path: Path | None = None, seconds: float = SECONDS) -> dict[str, Any]:
    """Return {library, sound, findings}: how all is that hit.toml describes, and a library at `path`, if one is named.

    It is sound where nothing fails. seconds: for each part to answer, the model excepted, which may take four times as long.
    """
    told = _Told()
    found = _Running("hit.toml", lambda: _read(path, told)).wait(time.monotonic() + seconds, seconds)
    running = [_Running(name, check) for name, check in _checks(path, told, seconds).items()]
    until = time.monotonic() + seconds
    for one in running:
        found += one.wait(until + (seconds * (_TIMES - 1) if one.name in _PATIENT else 0.0), seconds)
    clean = _cleaner()
    shown = [replace(one, what=clean(one.what), mend=clean(one.mend)) for one in found]
    return {
        "library": str(path) if path else None,
        "sound": all(one.state != FAIL for one in shown),
        "findings": [asdict(one) for one in shown],
    }


@dataclass
class _Told:
    """What is written down of a deployment, as far as it could be read. joins: the library is to be that of its database."""

    described: Deployment = field(default_factory=Deployment)
    config: LibraryConfig | None = None
    joins: bool = False


def _read(path: Path | None, told: _Told) -> Iterator[Finding]:
    """Read the settings, and say how they are."""
    try:
        told.described = deployment.read()
        where = deployment.path()
        yield Finding("hit.toml", str(where.absolute()) if where else "there is none: all is on this machine", OK)
    except UserError as error:
        yield Finding("hit.toml", f"{error.what}: {error.why}", FAIL, error.fix or "see docs/deploy.md")
    if not path:
        return
    if told.described.library.database and not (path / "library.toml").exists():
        told.joins = True
        return
    try:
        told.config = settings.read(path)
        yield Finding("library.toml", f"{path.absolute()}, library {told.config.id}", OK)
    except UserError as error:
        yield Finding("library.toml", f"{error.what}: {error.why}", FAIL, error.fix or "restore a backup")


def _checks(path: Path | None, told: _Told, seconds: float) -> dict[str, Check]:
    """Return what there is to look at, by name."""
    described, config = told.described, told.config
    places = described.library
    database = settings.database_of(path.absolute(), config) if path and config else places.database
    checks: dict[str, Check] = {
        "program": machine.versions,
        "machine": machine.machine,
        "disk": partial(machine.disks, path),
        "pool": partial(services.pool, described.pool, seconds - _MARGIN),
    }
    if described.trace:
        checks["trace"] = partial(services.trace, described.trace)
    if database:
        checks["database"] = partial(services.database, database, path is not None)
    if objects := getattr(config, "objects", "") or places.objects:
        checks["objects"] = partial(services.objects, objects)
    checks |= {f"root {name}": partial(services.root, name, place) for name, place in described.roots.items()}
    if path and told.joins:
        checks["library.toml"] = partial(library.joining, path, places.database)
    if path and config:
        checks |= {
            "serve.toml": partial(library.serving, path),
            "store": partial(library.store, path, config),
            "model": partial(library.model, path, config),
            "jobs": partial(library.jobs, path, config),
            "folder": partial(library.folder, path),
        }
    elif places.store:
        checks["store"] = partial(services.milvus, places.store)
    return checks


class _Running:
    """A check at work, in a thread that nobody waits for longer than is told."""

    def __init__(self, name: str, check: Check) -> None:
        self.name, self._check = name, check
        self._found = list[Finding]()
        self._thread = threading.Thread(target=self._run, name=f"doctor {name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for one in self._check():
                self._found.append(one)
        except UserError as error:
            self._found.append(Finding(self.name, f"{error.what}: {error.why}", FAIL, error.fix or "see its log"))
        except Exception as error:  # of whatever is looked at: it is to be told, and the others are to be looked at
            self._found.append(Finding(self.name, f"{type(error).__name__}: {' '.join(str(error).split())}", FAIL, "see its log"))

    def wait(self, until: float, seconds: float) -> list[Finding]:
        self._thread.join(max(0.0, until - time.monotonic()))
        late = self._thread.is_alive()
        found = list(self._found)
        if late:
            found.append(
                Finding(self.name, f"has not answered within {seconds:g} s", FAIL, "see whether it hangs, or allow more time")
            )
        return found


def _cleaner() -> Callable[[str], str]:
    """Return what leaves out of a text what the environment keeps secret, and passwords in URLs."""
    secrets = [value for name, value in os.environ.items() if _SECRET.search(name) and len(value) > 3]

    def clean(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, "***")
        return re.sub(r"([a-z][a-z0-9+.-]*://[^\s/:@]*):[^\s/@]+@", r"\1:***@", text)

    return clean
