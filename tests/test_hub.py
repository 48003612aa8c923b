"""Models are found where they are, and what is not here or is no table is named."""

from pathlib import Path

import pytest

from hit import hub
from hit.errors import UserError


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("/no/such/folder", "there is no such folder"),
        ("a/b/c", "no such folder"),
        ("somebody/some-model", "HF_HUB_OFFLINE is set"),
    ],
)
def test_models_that_are_not_here(monkeypatch: pytest.MonkeyPatch, path: str, complaint: str) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=complaint):
        hub.fetch(path)


@pytest.mark.parametrize("content", ["{", "[]", "[" * 100_000, "\x00"])
def test_a_config_that_is_no_table_is_named(tmp_path: Path, content: str) -> None:
    assert hub.fetch(str(tmp_path)) == tmp_path, "what else it lacks is for others to say"
    (tmp_path / "config.json").write_text("{}")
    assert hub.fetch(str(tmp_path)) == tmp_path
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"config.json: is not ") as caught:
        hub.fetch(str(tmp_path))
    assert "\n" not in str(caught.value)
