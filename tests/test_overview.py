"""What a data set holds: counted against the slow way, and drawn."""

import json
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

import mmt_release
from hit import datasets, overview
from hit.errors import UserError
from hit.importers.folders import Folders
from hit.importers.mmt import import_mmt
from hit.importers.release import Terms
from hit.types import Silent

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    release = mmt_release.msrvtt(tmp_path / "release")
    import_mmt(release.root, tmp_path / "set", "msrvtt-full", Terms(Folders((), 1.0), True, Silent()))
    return tmp_path / "set"


def test_counts(folder: Path) -> None:
    about = overview.overview(folder)
    data = datasets.read(folder)
    lengths = [len(text.split()) for texts in data.captions.values() for text in texts]
    assert (about["clips"], about["captions"]) == (12, 36)
    assert (about["words"]["least"], about["words"]["most"]) == (min(lengths), max(lengths))
    assert about["words"]["mean"] == round(sum(lengths) / 36, 2)
    assert {split: (one["clips"], one["captions"]) for split, one in about["splits"].items()} == {
        "train": (6, 18),
        "val": (1, 3),
        "test": (5, 15),
    }
    by_name = {one["name"]: one for one in about["experts"]}
    assert by_name["s3d"]["share"] == 100.0
    rgb = by_name["rgb"]
    assert (rgb["clips"] + rgb["absent"], rgb["saw_nothing"], rgb["not_extracted"]) == (12, 0, 0)
    assert 0 < rgb["share"] == round(100 * rgb["clips"] / 12, 2) < 100
    assert rgb["rows"]["least"] >= 1


def test_the_command_and_its_page(folder: Path, tmp_path: Path, hit: Run) -> None:
    page = tmp_path / "page.html"
    done = hit("data", "show", folder, "--plot", page, "--json")
    assert (done.returncode, done.stdout.count("\n")) == (0, 1), done.stderr
    assert json.loads(done.stdout) == overview.overview(folder)
    text = page.read_text()
    figures = [f"<svg{part}</svg>" for part in (piece.partition("</svg>")[0] for piece in text.split("<svg")[1:])]
    assert [ET.fromstring(figure).tag.rpartition("}")[2] for figure in figures] == ["svg", "svg"]
    assert all(word in text for word in ("Length of captions", "Clips that an expert covers", "rows)", "train", "test"))
    shown = hit("data", "show", folder).stdout
    assert all(word in shown for word in ("s3d", "1024", "% of clips", "median", "all"))
    done = hit("data", "show", folder, "--plot", tmp_path / "nowhere" / "page.html")
    assert (done.returncode, done.stderr.count("\n"), "cannot be written" in done.stderr) == (2, 1, True)


def test_a_data_set_without_features_and_one_that_is_damaged(tmp_path: Path, hit: Run, folder: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "clips.csv").write_text("id,video,start,end\na,,,\n")
    (tmp_path / "plain" / "captions.csv").write_text("clip,split,caption\na,train,one word more\n")
    done = hit("data", "show", tmp_path / "plain", "--plot", tmp_path / "page.html")
    assert (done.returncode, "no features" in done.stdout) == (0, True), done.stderr
    assert (tmp_path / "page.html").read_text().count("<svg") == 1
    about = next(folder.glob("features/s3d-*/expert.json"))
    about.write_text("{")
    with pytest.raises(UserError, match=r"expert.json: is damaged"):
        overview.overview(folder)
    shard = next(folder.glob("features/rgb-*/*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-9])
    about.write_text(json.dumps({"name": "x", "dim": 1, "identity": "y"}))
    with pytest.raises(UserError, match=r"safetensors: is damaged"):
        overview.overview(folder)
