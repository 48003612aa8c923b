"""Zero-shot models: frozen dual encoders and a text channel as an Encoder, so that a library is searched before any training.

Each dual encoder (CLIP, SigLIP 2, X-CLIP, CLAP) is a part of the embedding: its own text side embeds the query, the expert of
the same network embeds clips. The part "text" matches the query with the words that the experts `ocr` and `speech` found.

config.toml (parts, experts), recipe.toml (for `hit extract` and `hit train` with the same experts), card.json; no weights.
"""

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tomli_w

from hit import config as configs
from hit import experts as registry
from hit import hub, provenance
from hit.config import ExpertConfig
from hit.encoder import ExpertRecord, HiTEncoder, load_encoder, read_card, read_config, revision
from hit.errors import UserError
from hit.experts import network, pretrained
from hit.experts.sentences import Sentences
from hit.experts.windows import in_batches
from hit.files import write_whole
from hit.text import Tokenizer
from hit.types import Features, Floats

IMAGE = "google/siglip2-base-patch16-224"  # Apache-2.0, many languages
SENSES = ("image", "video", "audio")
# Chosen so that clips that have nothing to do with a query lie about as far apart in each part: see docs/zeroshot.md.
WEIGHTS: Mapping[str, float] = {"image": 1.0, "video": 1.0, "audio": 0.3, "text": 0.3}
MAX_TOKENS = 77  # what CLIP, X-CLIP and CLAP were trained with; SigLIP has 64 places
SIGLIP = ("siglip", "siglip2")
BATCH = 32
NEEDS = "name a dual encoder such as CLIP, SigLIP 2, X-CLIP or CLAP, saved with its tokenizer"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Part:
    """A part of the embedding: whose text side embeds queries, and the experts whose rows stand for a clip."""

    source: str  # a folder or a hub id; of the part "text", what `hit.text.locate` takes
    identity: str  # of the text side
    dim: int
    weight: float
    experts: tuple[str, ...]


@dataclass(frozen=True)
class FolderConfig:
    """The config.toml of a zero-shot model's folder."""

    kind: Literal["zero-shot"]
    name: str
    parts: Mapping[str, Part]
    experts: Mapping[str, ExpertRecord]


@dataclass(frozen=True)
class Plan:
    """What to put a zero-shot model together from. Networks are folders or hub ids, empty: none.

    `image` of None is IMAGE where it is to be had and there is no `video`; `ocr` of None is where RapidOCR is installed.
    """

    image: str | None = None
    video: str = ""
    audio: str = ""
    text: str = "minilm"
    ocr: bool | None = None
    speech: bool = True
    whisper: str = ""
    device: str = "cpu"
    weights: Mapping[str, float] = field(default_factory=dict)  # of parts, instead of WEIGHTS


class TextSide:
    """The text side of the dual encoder at `path`, whose other `sense` is "image", "video" or "audio".

    Its tokenizer.json is used as it stands: the class that SigLIP 2's folders name would not bring texts to lower case.
    Raises UserError for a network that is no such dual encoder, or has no tokenizer.
    """

    def __init__(self, path: str, sense: str) -> None:
        folder = hub.fetch(path)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            if not (folder / name).is_file():
                raise UserError(path, f"has no {name}", NEEDS)
        self._network = network.Network(path, folder)
        if lacking := [kind for kind in ("text", sense) if not self._network.has(kind)]:
            raise UserError(
                path, f"is no dual encoder of texts and {sense}: it has no {' and no '.join(lacking)} features", NEEDS
            )
        config = self._network.config
        # SigLIP was trained on lower case, and on rows filled to their full length without a mask; it reads the last place.
        self._filled = config.model_type in SIGLIP
        self._length = min(MAX_TOKENS, config.text_config.max_position_embeddings)
        self._tokenizer = Tokenizer(folder, self._length)
        self._pad = _padding(folder, self._tokenizer)
        self.dim = network.width(path, "texts", NEEDS, lambda: self._rows(["a text"]))
        files = (folder / "tokenizer.json", folder / "tokenizer_config.json")
        self.identity = f"texts/1 {self._network.identity} tokenizer={pretrained.fingerprint(files)}"

    def __call__(self, texts: Sequence[str]) -> Floats:
        """Return (N, dim), each row of unit length."""
        return in_batches(self._rows, texts, BATCH, self.dim)

    def _rows(self, texts: Sequence[str]) -> Floats:
        ids = self._tokenizer([text.lower() for text in texts] if self._filled else texts)
        length = self._length if self._filled else max(map(len, ids))
        padded = np.stack([np.pad(row, (0, length - len(row)), constant_values=self._pad) for row in ids])  # (n, length)
        mask = np.stack([np.arange(length) < len(row) for row in ids]).astype(np.int64)
        return unit(self._network.embed("text", {"input_ids": padded} | ({} if self._filled else {"attention_mask": mask})))


class ZeroShotEncoder:
    """The parts of a zero-shot model as an Encoder: texts and clips' features in, embeddings (N, dim) out.

    A clip's part is the mean of its rows, each of unit length, brought to unit length; it is zero where the experts of the
    part found nothing, and then adds nothing to a score. Text sides are loaded when a text is embedded.
    """

    def __init__(self, config: FolderConfig, revision: str) -> None:
        self.id, self.revision = config.name, revision
        ends = np.cumsum([part.dim for part in config.parts.values()]).tolist()
        self.dim: int = ends[-1]
        self.parts: Mapping[str, slice] = {
            name: slice(end - part.dim, end) for end, (name, part) in zip(ends, config.parts.items(), strict=True)
        }
        self.weights: Mapping[str, float] = {name: part.weight for name, part in config.parts.items()}
        self.experts = {name: record.config for name, record in config.experts.items()}
        self.identities = {name: record.identity for name, record in config.experts.items()}
        self._config = config
        self._sides: dict[str, TextSide | Sentences] = {}

    def embed_texts(self, texts: Sequence[str]) -> Floats:
        """Return (N, dim). Raises UserError for an empty text, and for a network that is not the one of the model's making."""
        if any(not text.strip() for text in texts):
            raise UserError("a text", "is empty", "write what the video should show")
        return np.concatenate([self._side(name)(texts) for name in self.parts], axis=1)

    def embed_clips(self, clips: Sequence[Mapping[str, Features]]) -> Floats:
        """Return (N, dim)."""
        found = np.zeros((len(clips), self.dim), np.float32)
        for row, clip in zip(found, clips, strict=True):
            for name, part in self._config.parts.items():
                seen = [clip[expert].values for expert in part.experts if expert in clip and len(clip[expert].values)]
                if seen:
                    row[self.parts[name]] = unit(unit(np.concatenate(seen)).mean(axis=0))
        return found

    def _side(self, name: str) -> TextSide | Sentences:
        if name not in self._sides:
            part = self._config.parts[name]
            side = _text_side(name, part.source)
            if side.identity != part.identity:
                why = "has other weights or another tokenizer than when the zero-shot model was made"
                raise UserError(part.source, why, "bring them back, or make another model with `hit zeroshot`")
            self._sides[name] = side
        return self._sides[name]


def open_encoder(folder: Path, device: str = "cpu") -> HiTEncoder | ZeroShotEncoder:
    """Open a model folder, trained (then on `device`) or zero-shot. Raises UserError for one that is not whole."""
    read_card(folder)
    table = read_config(folder)
    if "kind" not in table:
        return load_encoder(folder, device)
    return ZeroShotEncoder(configs.build(FolderConfig, table, str(folder / "config.toml")), revision(folder, ("config.toml",)))


def make(folder: Path, plan: Plan, say: Say) -> dict[str, Any]:
    """Write a zero-shot model's folder and return its card; `say` is told what is fetched, and what the model goes without.

    Raises UserError for a folder that holds something, networks that do not load, and a plan without any part.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(folder, "exists, and is not an empty folder", "name a new one")
    parts: dict[str, Part] = {}
    records: dict[str, ExpertRecord] = {}
    for name, (source, experts) in _sources(plan, say).items():
        side = _text_side(name, source)
        for expert, options in experts.items():
            loaded = registry.load(expert, options)
            if loaded.dim != side.dim:
                raise UserError(source, f"gives {loaded.dim} numbers for {name} and {side.dim} for a text", NEEDS)
            records[expert] = ExpertRecord(options, loaded.dim, loaded.identity)
        parts[name] = Part(source, side.identity, side.dim, WEIGHTS[name], tuple(experts))
    parts = _weighted(parts, plan.weights)
    return _save(folder, FolderConfig("zero-shot", f"zero-shot ({' + '.join(parts)})", parts, records))


def make_whole(folder: Path, say: Say) -> Path:
    """Make the folder of the default model, all or nothing, and return it."""
    part = folder.with_name(f".{folder.name}.part")  # until it is whole; what a killed run left there is begun anew
    shutil.rmtree(part, ignore_errors=True)
    make(part, Plan(), say)
    part.replace(folder)
    return folder


def unit(rows: Floats) -> Floats:
    """Bring rows (..., d) to unit length; a row of zeros stays one."""
    scaled: Floats = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), np.float32(1e-12))
    return scaled


def _sources(plan: Plan, say: Say) -> dict[str, tuple[str, dict[str, ExpertConfig]]]:
    """Return for each part its source and its experts, with every path such that it names the same network tomorrow."""
    image = plan.image if plan.image is not None else "" if plan.video else _default_image(say)
    found: dict[str, tuple[str, dict[str, ExpertConfig]]] = {}
    for sense, path in zip(SENSES, (image, plan.video, plan.audio), strict=True):
        if path:
            source = pretrained.pinned(path, say)
            options = {"path": source} | ({"device": plan.device} if plan.device != "cpu" else {})
            found[sense] = source, {sense: ExpertConfig(f"{sense}-model", options)}
    if words := _words(plan, say):
        found["text"] = words["speech" if plan.speech else "ocr"].options["text"], words
    if not found:
        raise UserError("a zero-shot model", "would have nothing to go by", "name a network, or leave ocr or speech on")
    return found


def _default_image(say: Say) -> str:
    try:
        return pretrained.pinned(IMAGE, say)
    except UserError as error:
        fix = "fetch one where there is a network and name its folder: `hit zeroshot OUT image=FOLDER`"
        say(f"without pictures, by spoken and written words alone: {error.what} {error.why} ({fix})")
        return ""


def _words(plan: Plan, say: Say) -> dict[str, ExpertConfig]:
    """Return the experts of words."""
    folder = Path(plan.text).expanduser()
    text = str(folder.resolve()) if folder.is_dir() else plan.text
    found: dict[str, ExpertConfig] = {}
    lacks = {one.name: one.lacks for one in registry.describe()}["ocr"] if plan.ocr is None else ""
    if lacks:
        say(f"without what is written in pictures: RapidOCR is not installed ({lacks})")
    if plan.ocr or (plan.ocr is None and not lacks):
        found["ocr"] = ExpertConfig("ocr", {"text": text})
    if plan.speech:
        whisper = {"model": pretrained.pinned(plan.whisper, say), "device": plan.device} if plan.whisper else {}
        found["speech"] = ExpertConfig("speech", {"text": text, **whisper})
    return found


def _text_side(name: str, source: str) -> TextSide | Sentences:
    return Sentences(source) if name == "text" else TextSide(source, name)


def _weighted(parts: Mapping[str, Part], weights: Mapping[str, float]) -> dict[str, Part]:
    for name, weight in weights.items():
        if name not in parts:
            raise UserError(f"weight of '{name}'", "the model has no such part", f"it has {', '.join(parts)}")
        if not 0 <= weight < math.inf:
            raise UserError(f"weight of '{name}'", f"{weight} is not a number of 0 or above")
    found = {name: replace(part, weight=weights.get(name, part.weight)) for name, part in parts.items()}
    if not any(part.weight for part in found.values()):
        raise UserError("the weights", "are all 0", f"give one of {', '.join(parts)} a weight above 0")
    return found


def _save(folder: Path, config: FolderConfig) -> dict[str, Any]:
    recipe = replace(configs.load("tiny"), name="hit", experts={name: record.config for name, record in config.experts.items()})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(tomli_w.dumps(configs.to_table(config)))
    (folder / "recipe.toml").write_text(tomli_w.dumps(configs.to_table(recipe)))
    card = {
        "name": config.name,
        "parts": configs.to_table(config)["parts"],
        "experts": {name: record.identity for name, record in config.experts.items()},
        "recipe": configs.to_table(recipe),
        "seed": None,
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "revision": revision(folder, ("config.toml",)),
    }
    write_whole(folder / "card.json", (json.dumps(card, indent=2) + "\n").encode())
    return card


def _padding(folder: Path, tokenizer: Tokenizer) -> int:
    """Return the id that texts are filled with."""
    file = folder / "tokenizer_config.json"
    word = hub.read_table(file).get("pad_token")
    found = tokenizer.id(str(word["content"] if isinstance(word, dict) and "content" in word else word))
    if found is None:
        raise UserError(file, f"its pad_token, {word!r}, is no word of tokenizer.json", "fetch the model again")
    return found
