"""Model folders: what passes from training to serving. Written by `save`, opened by `load_encoder`; no pickle.

config.toml (model, experts), weights.safetensors, tokenizer.json and text_config.json (the text encoder's own files), card.json.
"""

import hashlib
import json
import shutil
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from hit import config as configs
from hit.config import ExpertConfig, ModelConfig
from hit.errors import UserError
from hit.files import write_whole
from hit.heads import LEVELS
from hit.model import HiT, Levels
from hit.text import Tokenizer
from hit.tokens import pack_texts
from hit.types import Features, Floats

CHUNK = 128  # texts or clips encoded at once
SERVES = ("config.toml", "weights.safetensors", "tokenizer.json")
COPY = "copy the whole model folder again"


@dataclass(frozen=True)
class ExpertRecord:
    """An expert as a model was trained with it."""

    config: ExpertConfig
    dim: int
    identity: str


@dataclass(frozen=True)
class FolderConfig:
    """The config.toml of a model folder."""

    name: str
    model: ModelConfig
    experts: Mapping[str, ExpertRecord] = field(default_factory=dict)


class HiTEncoder:
    """A HiT model as an Encoder: texts and clips' features in, embeddings (N, 2 * D) out."""

    def __init__(self, model: HiT, tokenizer: Tokenizer, config: FolderConfig, revision: str) -> None:
        dim = model.dim
        self.id, self.revision, self.dim = config.name, revision, len(LEVELS) * dim
        self.parts: Mapping[str, slice] = {level: slice(i * dim, (i + 1) * dim) for i, level in enumerate(LEVELS)}
        self.weights: Mapping[str, float] = dict(zip(LEVELS, config.model.level_weights, strict=True))
        self.experts = {name: record.config for name, record in config.experts.items()}
        self.identities = {name: record.identity for name, record in config.experts.items()}
        self.model, self.config, self._tokenizer = model, config.model, tokenizer

    def embed_texts(self, texts: Sequence[str]) -> Floats:
        """Return (N, dim). Raises UserError for an empty text."""
        if any(not text.strip() for text in texts):
            raise UserError("a text", "is empty", "write what the video should show")
        ids = self._tokenizer(texts)
        return self._embed(len(ids), lambda part: self.model.embed_text(pack_texts(ids[part])))

    def count_tokens(self, texts: Sequence[str]) -> int:
        """Return how many tokens of texts the model reads."""
        return sum(map(len, self._tokenizer(texts)))

    def embed_clips(self, clips: Sequence[Mapping[str, Features]]) -> Floats:
        """Return (N, dim). Raises UserError for a clip without features of any expert of this model."""
        return self._embed(len(clips), lambda part: self.model.embed_video(self.model.video.pack(clips[part])))

    def _embed(self, count: int, embed: Callable[[slice], Levels]) -> Floats:
        result = np.empty((count, self.dim), np.float32)
        training = self.model.training
        self.model.eval()
        with torch.inference_mode():
            for start in range(0, count, CHUNK):
                part = slice(start, start + CHUNK)
                levels = embed(part)
                result[part] = torch.cat(list(levels), dim=1).cpu().numpy()
        self.model.train(training)
        return result


def save(folder: Path, model: HiT, config: FolderConfig, text_folder: Path, card: Mapping[str, Any]) -> None:
    """Write a model folder; card.json comes last, so a folder with a card is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "card.json").unlink(missing_ok=True)
    (folder / "config.toml").write_text(tomli_w.dumps(configs.to_table(config)))
    save_file(model.state_dict(), folder / "weights.safetensors")
    shutil.copyfile(text_folder / "tokenizer.json", folder / "tokenizer.json")
    shutil.copyfile(text_folder / "config.json", folder / "text_config.json")
    write_whole(folder / "card.json", (json.dumps({**card, "revision": revision(folder)}, indent=2) + "\n").encode())


def read_card(folder: Path) -> dict[str, Any]:
    """Return a model folder's card. Raises UserError for one that is missing or unfinished."""
    try:
        return dict(json.loads((folder / "card.json").read_text()))
    except (FileNotFoundError, NotADirectoryError):
        fix = "give a folder that `hit train` or `hit zeroshot` finished"
        raise UserError(folder, "not a model folder: it has no card.json", fix) from None


def read_config(folder: Path) -> dict[str, Any]:
    """Return a model folder's config.toml. Raises UserError for one that cannot be read."""
    path = folder / "config.toml"
    try:
        return tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:  # not there, not text, not TOML
        raise UserError(path, f"cannot be read: {error}", COPY) from None


def load_encoder(folder: Path, device: str = "cpu") -> HiTEncoder:
    """Open a model folder; on "auto", the model is on a GPU where there is one.

    Raises UserError for a folder that is missing, unfinished or does not fit together.
    """
    read_card(folder)
    table, path = read_config(folder), folder / "text_config.json"
    try:
        shape = json.loads(path.read_text())
    except (OSError, ValueError) as error:  # not there, not text, not JSON
        raise UserError(path, f"cannot be read: {error}", COPY) from None
    config = configs.build(FolderConfig, table, str(folder / "config.toml"))
    model = HiT(config.model, {name: record.dim for name, record in config.experts.items()}, shape)
    try:
        model.load_state_dict(load_file(folder / "weights.safetensors"))
    except (RuntimeError, OSError, SafetensorError) as error:
        raise UserError(folder / "weights.safetensors", f"does not fit config.toml: {error}".replace("\n", " ")) from None
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return HiTEncoder(model.to(device).eval(), Tokenizer(folder, config.model.text.max_tokens), config, revision(folder))


def revision(folder: Path, names: Sequence[str] = SERVES) -> str:
    """Return the name of a model's weights, tokenizer, configuration and experts: twelve hex digits of their files' hash."""
    digest = hashlib.sha256()
    for name in names:
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]
