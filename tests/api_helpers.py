"""What the tests of the API share: an application over a small library of the toy encoder."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from hit.api import create_app
from hit.library import Library
from hit.service import ServeConfig, Service
from library_helpers import good_videos
from toy import PLUGIN, ToyEncoder

BASE = "http://127.0.0.1:8000"


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a library, `lib`, of five videos in `v`. Others read it: copy it to change it."""
    folder = tmp_path_factory.mktemp("served")
    good_videos(folder / "v")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLUGIN))
        with Library.create(folder / "lib", encoder=ToyEncoder()) as library:
            library.index([folder / "v"], workers=1)
    return folder


@pytest.fixture
def own(made: Path, tmp_path: Path) -> Path:
    """Return a copy of the library that a test may change; the videos are where they were."""
    return shutil.copytree(made / "lib", tmp_path / "lib")


@contextmanager
def client(library: Path, **config: Any) -> Iterator[TestClient]:
    """Serve a library inside this process."""
    app = create_app(Service(library, ServeConfig(**{"jobs": False, **config}), ToyEncoder()))
    with TestClient(app, base_url=BASE, raise_server_exceptions=False) as opened:
        yield opened
