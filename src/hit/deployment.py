"""hit.toml: one deployment, of one machine or of many. Without it everything is on this machine, in the folders that are named.

The same commands do the same with it: what they would be told by options on a cluster, they read here.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hit import config as configs
from hit.errors import UserError

NAME, VARIABLE = "hit.toml", "HIT_CONFIG"
STORES = ("s3", "gs", "az")


@dataclass(frozen=True)
class Places:
    """Where libraries that are made or joined here have their parts. Empty: in the library's folder."""

    database: str = ""  # URL, see `settings.LibraryConfig`
    store: str = ""  # URI of the vector store
    objects: str = ""  # URL of a folder in an object store, for all that is a file: see `hit.objects`
    models: str = ""  # a folder of model folders, where a machine has them elsewhere than the one that named them


@dataclass(frozen=True)
class Log:
    """What is logged, and how: "json" writes an object a line."""

    format: Literal["line", "json"] = "line"
    level: Literal["debug", "info", "warning", "error"] = "info"


@dataclass(frozen=True)
class Deployment:
    """A hit.toml.

    pool: who looks at videos: "local" for processes of this machine, "ray" for a Ray of this machine, HOST:PORT for a cluster.
    roots: names for folders of videos, each a path or a URL: databases know files by NAME:PATH. serve: as in serve.toml, which it
    overrules. trace: where OpenTelemetry traces go, http://HOST:4318; empty: nowhere.
    """

    pool: str = "local"
    library: Places = Places()
    roots: Mapping[str, str] = field(default_factory=dict)
    serve: Mapping[str, Any] = field(default_factory=dict)
    log: Log = Log()
    trace: str = ""


def path() -> Path | None:
    """Return the hit.toml that holds here: the one that HIT_CONFIG names, else that of the working folder; None without one."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    return Path(NAME) if Path(NAME).is_file() else None


def read() -> Deployment:
    """Return what the hit.toml says that holds here. Raises UserError for what does not fit."""
    if (found := path()) is None:
        return Deployment()
    if (table := configs.read(found)) is None:
        raise UserError(found, "there is no such file", f"see to {VARIABLE}")
    return check(configs.build(Deployment, table, str(found)))


def check(deployment: Deployment) -> Deployment:
    """Return a deployment that makes sense. Raises UserError for one that does not."""
    for name, place in deployment.roots.items():
        if not re.fullmatch(r"[a-z][a-z0-9_-]+", name) or name == "library":  # one letter is a drive elsewhere
            raise UserError("roots", f"'{name}' is no name for one", "two or more of a to z, 0 to 9, - and _; 'library' is taken")
        scheme, found, rest = place.partition("://")
        top, _, key = rest.partition("/")
        if found and scheme not in (*STORES, "file"):
            raise UserError(
                f"root {name}", f"no videos are kept by '{scheme}'", f"a path, or a URL by {', '.join(STORES)} or file"
            )
        if found and "@" in top:
            raise UserError(f"root {name}", "its credentials are not taken from a URL", "give them in the environment")
        if scheme == "file" and (top or not key):
            raise UserError(f"root {name}", f"'{place}' is no folder of this machine", "for example file:///data/videos")
        if scheme in STORES and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", top):
            raise UserError(f"root {name}", f"'{place}' names no bucket", f"for example {scheme}://bucket/folder")
        if not found and not Path(place).is_absolute():
            raise UserError(
                f"root {name}", f"'{place}' is another folder wherever it is read", "write its path in full, or a URL"
            )
    return deployment
