"""Model folders: what is missing or damaged is named in one line."""

import json
import shutil
from pathlib import Path

import pytest

import tiny_model
from hit import encoder
from hit.errors import UserError


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.write(tmp_path_factory.mktemp("model") / "tiny")


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("card.json", None, "not a model folder"),
        ("config.toml", b"name = 'x'\n 1.0,", "config.toml: cannot be read"),
        ("config.toml", b"\xff\xfe", "config.toml: cannot be read"),
        ("config.toml", None, "config.toml: cannot be read"),
        ("config.toml", b"nmae = 'x'", "config.toml: unknown key 'nmae'"),
        ("text_config.json", b"{", "text_config.json: cannot be read"),
        ("weights.safetensors", b"half", "weights.safetensors: does not fit config.toml"),
        ("weights.safetensors", None, "weights.safetensors: does not fit config.toml"),
        ("tokenizer.json", b"{}", "tokenizer.json: not a tokenizer"),
    ],
)
def test_what_is_damaged_is_named(whole: Path, tmp_path: Path, name: str, content: bytes | None, line: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(whole, folder)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=line):
        encoder.load_encoder(folder)


def test_level_weights_are_no_part_of_an_embedding_but_of_the_revision(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(whole, folder)
    text = (folder / "config.toml").read_text()
    head, _, tail = text.partition("level_weights = [")
    (folder / "config.toml").write_text(f"{head}level_weights = [0.25, 1.0]{tail.partition(']')[2]}")
    one, other = encoder.load_encoder(whole), encoder.load_encoder(folder)
    assert other.weights == {"feature": 0.25, "semantic": 1.0}
    assert (one.embed_texts(["a red ball"]) == other.embed_texts(["a red ball"])).all()
    assert one.revision != other.revision
    assert json.loads((whole / "card.json").read_text())["revision"] == one.revision
