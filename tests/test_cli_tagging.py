"""`hit tag` and `hit labels`, over a library of a tiny model."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest

import tiny_model
from hit import index
from hit.db import Found, Segment, video_id
from hit.library import Library
from upkeep_helpers import FACTS

Run = Callable[..., "CompletedProcess[str]"]
LABELS = "name,text,group,rule\nball,a red ball,thing,percentile 50\nball,a ball,,\nbox,a blue box,thing,percentile 70\n"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a library of eight videos of one segment, whose vectors are random; its tests go on from one another's state."""
    folder = tmp_path_factory.mktemp("tagged")
    with Library.create(folder / "lib", tiny_model.write(folder / "model")) as library:
        rng = np.random.default_rng(0)
        for number in range(8):
            content = f"{number:04x}" * 16
            library.db.record_files([Found(f"/v/{number}.mp4", 1, 1, content)])
            segment = Segment(id=f"s{number}", video_id=video_id(content), start=0.0, end=2.0, seek=0.0, thumbnail=None)
            vector = rng.normal(size=(1, 2, library.stored.dim // 2))
            vector /= np.linalg.norm(vector, axis=2, keepdims=True)
            made = vector.reshape(1, -1).astype(np.float32)
            library.db.finish(video_id(content), FACTS, [segment], library.stored.revision, made)
        index.sync(library.db, library.store, library.stored)
    return folder


def test_from_a_file_to_tags_and_back(served: Path, hit: Run, tmp_path: Path) -> None:
    lib, file = served / "lib", tmp_path / "things.csv"
    file.write_text(LABELS)

    def run(*words: object) -> Any:
        done = hit(*words, "--json")
        assert done.returncode == 0, done.stderr
        plain = hit(*words)
        assert plain.returncode == 0 and plain.stdout, plain.stderr
        return json.loads(done.stdout.splitlines()[-1])

    told = run("tag", lib, "--labels", file, "--dry-run")
    assert [one["added"] for one in told["labels"]] == [4, 3] and told["version"] is None
    assert run("labels", "list", lib)["label_sets"] == []
    done = run("tag", lib, "--labels", file)
    assert (done["label_set"], done["version"], done["tagged"], done["added"]) == ("things", 1, 7, 7)
    assert run("library", "tag", lib)["tags"] == {"ball": 4, "box": 3}
    (listed,) = run("labels", "list", lib)["label_sets"]
    assert (listed["active_version"], listed["labels"], listed["by"]) == (1, 2, "command line")
    assert [one["tagged"] for one in run("labels", "show", lib, "things")["labels"]] == [4, 3]
    assert run("labels", "export", lib, "things", tmp_path / "out.toml")["labels"] == 2
    assert run("tag", lib, "--labels", tmp_path / "out.toml", "--set", "things")["version"] == 1
    assert run("labels", "answer", lib, "things", "ball", "yes", "s1", "s2")["answers"] == {"yes": 2, "no": 0}
    assert run("labels", "answer", lib, "things", "ball", "none", "s2")["answers"] == {"yes": 1, "no": 0}
    made = run("labels", "refit", lib, "things", "ball")
    assert (made["version"], made["state"]) == (2, "draft")
    assert (made["labels"][0]["examples_for"], made["labels"][0]["kind"]) == (["s1"], None)
    assert run("labels", "preview", lib, "things")["before"] == 1
    assert run("labels", "show", lib, "things")["labels"][0]["kind"] == "probe"
    assert run("labels", "apply", lib, "things")["version"] == 2
    assert run("labels", "apply", lib, "things", "--version", 1)["version"] == 1
    assert hit("labels", "retire", lib, "things").returncode == 0
    assert run("library", "tag", lib)["tags"] == {}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("tag", "LIB", "--labels", "none.csv"), "none.csv: cannot be read: No such file"),
        (("tag", "LIB", "--labels", "odd.csv"), "odd.csv: has the columns none"),
        (("tag", "LIB", "--labels", "good.csv", "--set", "a/b"), "has a slash in it"),
        (("labels", "show", "LIB", "none"), "label set none: there is none of this name (`hit labels list` names them)"),
        (("labels", "apply", "LIB", "none"), "label set none"),
        (("labels", "answer", "LIB", "none", "x", "yes", "s1"), "label set none"),
        (("labels", "answer", "LIB", "none", "x", "perhaps", "s1"), "perhaps"),
        (("labels", "retire", "LIB", "none"), "label set none"),
    ],
)
def test_mistakes_are_told_in_one_line(served: Path, hit: Run, tmp_path: Path, words: tuple[str, ...], complaint: str) -> None:
    (tmp_path / "odd.csv").write_text("")
    (tmp_path / "good.csv").write_text(LABELS)
    done = hit(*(served / "lib" if word == "LIB" else word for word in words), cwd=tmp_path)
    assert done.returncode == 2 and complaint in done.stderr and done.stderr.count("\n") == 1


def test_a_file_that_cannot_be_exported_to(served: Path, hit: Run, tmp_path: Path) -> None:
    (tmp_path / "good.csv").write_text(LABELS)
    assert hit("tag", served / "lib", "--labels", tmp_path / "good.csv").returncode == 0
    done = hit("labels", "export", served / "lib", "good", tmp_path / "out.txt")
    assert done.returncode == 2 and "is no .csv and no .toml" in done.stderr
    assert hit("labels", "retire", served / "lib", "good").returncode == 0
