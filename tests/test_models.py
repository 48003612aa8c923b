"""Models in object stores: whole or not at all, whatever breaks off, and however many fetch the same."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hit import models, objects, settings
from hit.errors import UserError
from hit.objects import Folder, bucket, contract
from hit.segments import SegmentConfig
from hit.settings import LibraryConfig, ModelReference
from s3 import S3, Gate, gate, moto, s3

__all__ = ["gate", "moto", "s3"]  # fixtures


def model(folder: Path, revision: str = "abc", weights: bytes = b"weights") -> Path:
    """Write what passes for a model."""
    for name, data in {
        "card.json": json.dumps({"revision": revision}).encode(),
        "weights.safetensors": weights,
        "tokenizer/vocab.txt": b"a\nb\n",
        "run/state.safetensors": b"of its training",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def served(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in content(folder).items() if not name.startswith("run/")}


@pytest.fixture
def far(s3: S3, tmp_path: Path) -> Folder:
    """Return where a model is in an object store."""
    folder = objects.folder(f"{s3.bucket()}/models/abc")
    assert models.send(model(tmp_path / "model"), folder)
    return folder


def test_a_model_goes_there_and_comes_back(far: Folder, tmp_path: Path) -> None:
    assert not models.send(tmp_path / "model", far)  # once is enough
    copy = models.fetch(far, tmp_path / "copies")
    assert content(copy) == served(tmp_path / "model")
    stamp = (copy / "card.json").stat().st_mtime_ns
    assert models.fetch(far, tmp_path / "copies") == copy and (copy / "card.json").stat().st_mtime_ns == stamp
    assert models.here(far.url, tmp_path / "lib") == tmp_path / "lib" / "models" / copy.name
    assert models.here(str(tmp_path / "model"), tmp_path / "lib") == tmp_path / "model" and models.here(None, tmp_path) is None
    far.write("weights.safetensors", b"others!")
    other = models.fetch(far, tmp_path / "copies")
    assert other != copy and content(other)["weights.safetensors"] == b"others!"
    assert content(copy) == served(tmp_path / "model")  # whoever has it open keeps it


def test_many_fetch_the_same_at_once(far: Folder, tmp_path: Path) -> None:
    meet = threading.Barrier(6)

    def fetch(_: int) -> Path:
        meet.wait()
        return models.fetch(far, tmp_path / "copies")

    with ThreadPoolExecutor(6) as pool:
        (copy,) = set(pool.map(fetch, range(6)))
    assert content(copy) == served(tmp_path / "model") and list((tmp_path / "copies").iterdir()) == [copy]


def test_what_breaks_off_leaves_nothing_and_is_no_model(
    tmp_path: Path, gate: Gate, moto: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(bucket._RETRY, "max_retries", 0)
    folder = objects.folder(f"{moto.bucket()}/m")
    model(tmp_path / "model", weights=bytes(contract.PIECE + 1))
    gate.fail = [-1] * 3 + [0] * 20
    with pytest.raises(UserError, match="cannot be reached"):
        models.send(tmp_path / "model", folder)
    gate.fail = []
    with pytest.raises(UserError, match=r"is no model: it has no card\.json"):
        models.fetch(folder, tmp_path / "copies")
    assert models.send(tmp_path / "model", folder)
    for count in (1, 3, 4):
        gate.fail = [-1] * count + [0] * 20
        with pytest.raises(UserError, match="cannot be reached"):
            models.fetch(folder, tmp_path / "copies")
        assert list((tmp_path / "copies").iterdir()) == []
    gate.fail = []
    assert content(models.fetch(folder, tmp_path / "copies")) == served(tmp_path / "model")


def test_a_machine_without_the_model_fetches_the_right_revision(s3: S3, tmp_path: Path) -> None:
    url, first = f"{s3.bucket()}/lib", model(tmp_path / "here" / "model")
    config = LibraryConfig(ModelReference("m", "abc", 8, "../here/model", str(first)), SegmentConfig(), objects=url)
    settings.share_model(tmp_path / "lib", config)
    assert settings.model_here(tmp_path / "lib", config) == first.resolve()
    model(tmp_path / "here" / "model", "def", b"trained anew in the same place")
    settings.share_model(tmp_path / "lib", config)  # is another one than the library's
    copy = settings.model_here(tmp_path / "lib", config)
    assert copy.parent == tmp_path / "lib" / "models" and json.loads((copy / "card.json").read_text()) == {"revision": "abc"}
    (tmp_path / "here").rename(tmp_path / "gone")
    assert settings.model_folder(tmp_path / "lib", config.model) == copy == settings.model_here(tmp_path / "lib", config)
    objects.folder(url).delete([entry.name for entry in objects.folder(url).list()])
    with pytest.raises(UserError, match="is not on this machine"):
        settings.model_here(tmp_path / "elsewhere", config)
