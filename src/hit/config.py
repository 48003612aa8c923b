"""Recipes and model configuration: TOML into frozen dataclasses, with errors that name the nearest valid key."""

import dataclasses
import difflib
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from hit.errors import UserError

if typing.TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class DataConfig:
    """Which data set to read, and which of its splits for what."""

    path: str = ""
    train_split: str = "train"
    val_split: str = "val"  # where a data set has no such split, `val_share` of the training clips is held out
    val_share: float = 0.1
    test_split: str = "test"  # what `hit reproduce` measures
    cut: str = ""  # which cut of MMT's feature release `hit reproduce` imports


@dataclass(frozen=True)
class ExpertConfig:
    """One expert: the plugin `kind` (its own name where empty) with its options."""

    kind: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class VideoTowerConfig:
    """The video transformer; defaults are MMT's. Its levels are taken after `feature_block` and after the last one.

    Blocks are counted from 1; 0 is what goes into the first one, and all there is of a tower of 0 layers.
    """

    width: int = 512
    layers: int = 4
    heads: int = 4
    ffn: int = 3072
    dropout: float = 0.1
    max_tokens: int = 30  # per expert, spread evenly over the clip where it has more
    max_seconds: float = 64.0  # later times share the last time embedding
    time_step: float = 0.5  # seconds per time embedding
    phases: int = 4  # parts of the clip's length, each with a gate of its own on what is seen in it; 0: none
    aggregates: bool = True  # a token more per expert, the maximum of all that it saw
    feature_block: int = 1
    feature_pool: Literal["mean", "max", "cls", "aggregate"] = "mean"  # of all tokens; "aggregate": mean of the aggregates
    # "experts", as in MMT: each expert's aggregate is matched with a text vector of its own, weighted by the text
    semantic_pool: Literal["mean", "max", "cls", "aggregate", "experts"] = "aggregate"


@dataclass(frozen=True)
class TextTowerConfig:
    """The text encoder: "minilm" (the packaged all-MiniLM-L6-v2), a hub id or a local folder of a BERT-class model."""

    source: str = "minilm"
    max_tokens: int = 64
    blocks: int = 99  # how many of the encoder's blocks are used, from the bottom; all where it has fewer
    phases: int = 1  # parts of the text, each with a gate of its own on the words in it, where words are averaged; 1: no gates
    trained_blocks: int = 99  # how many of these are fine-tuned, from the top; word embeddings only with a number above `blocks`
    dropout: float = 0.1
    feature_block: int = 1
    feature_pool: Literal["mean", "max", "cls"] = "mean"
    semantic_pool: Literal["mean", "max", "cls"] = "cls"


@dataclass(frozen=True)
class ModelConfig:
    """HiT: both towers, and a head per level and modality."""

    dim: int = 256  # of each level; of each expert where semantic_pool=experts
    head: Literal["linear", "mlp"] = "linear"  # mlp: a hidden layer as wide as the tower, with GELU
    level_weights: tuple[float, float] = (1.0, 1.0)  # feature, semantic: at inference
    packed: bool = True  # False: compute on padding too, for fixed shapes
    video: VideoTowerConfig = VideoTowerConfig()
    text: TextTowerConfig = TextTowerConfig()


@dataclass(frozen=True)
class LossConfig:
    """The four matchings, and what stands against each: momentum cross-modal contrast, or one of its baselines.

    "momentum": InfoNCE against keys of momentum encoders, in banks and in the batch. "in-batch": InfoNCE against the batch
    alone, gradient on both sides, no key encoders. "max-margin": MMT's loss, a hinge on every wrong pair of the batch.
    """

    kind: Literal["momentum", "in-batch", "max-margin"] = "momentum"
    temperature: float = 0.05
    learn_temperature: bool = False
    temperature_bounds: tuple[float, float] = (0.01, 0.5)  # where it is learnt
    margin: float = 0.05  # of max-margin
    feature_weight: float = 1.0  # lambda of L = L_semantic + lambda * L_feature; 0: the feature level is not trained
    bank: int = 4096  # 0: momentum keys of the batch only
    momentum: float = 0.995
    final_momentum: float | None = None  # reached by half a cosine over the run; None: `momentum` stays
    mask_same_video: bool = True
    in_batch_keys: bool = True
    key_dropout: bool = False  # False: the same clip always has the same key
    shard: bool = False  # each process holds a part of the banks, and the queries go round instead of the keys; changes no result


@dataclass(frozen=True)
class TrainConfig:
    """The loop."""

    steps: int = 10_000
    batch: int = 128  # of all processes together
    accumulate: int = 1  # parts of a process's batch whose queries are computed one after the other; changes memory, not results
    captions: int = 1  # of a clip in a step, each a positive of it
    expert_dropout: float = 0.0  # chance of each expert of a clip to be left out of the query; one always stays
    seed: int = 0
    lr: float = 5e-5  # of the video tower
    lr_text: float = 5e-5
    lr_heads: float | None = None  # None: as the video tower
    hold_video: float = 0.0  # share of the steps, at the start, in which the video side stays as it began
    whiten_heads: bool = False  # begin the video heads as a whitening of what the untrained tower gives
    weight_decay: float = 0.01
    warmup: float = 0.05  # share of the steps
    decay: float = 1.0  # share of the steps, at the end, or all after the warm-up
    decay_factor: float | None = None  # of the rates for every 32,000 clips seen, as in MMT, instead of that half cosine
    clip_norm: float = 1.0
    autocast: Literal["none", "bfloat16", "float16"] = "none"
    compile: bool = False
    validate_every: int = 500
    checkpoint_every: int = 500
    keep_checkpoints: int = 2
    threads: int = 0  # 0: as many as the machine has
    device: str = "auto"  # cuda where there is one


@dataclass(frozen=True)
class Recipe:
    """Everything a training run depends on, apart from the data itself."""

    name: str = "hit"
    data: DataConfig = DataConfig()
    experts: Mapping[str, ExpertConfig] = field(default_factory=dict)
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    train: TrainConfig = TrainConfig()


def load(recipe: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe, a TOML file or the name of one that comes with HiT, and apply `key.sub=value` overrides.

    Raises UserError for a file or a key that does not fit.
    """
    path = Path(recipe)
    if not path.is_file() and (shipped := RECIPES / f"{recipe}.toml").is_file():
        path = shipped  # also where a data set's folder of that name lies
    if (table := read(path)) is None:
        raise UserError(path, "there is no such recipe", f"a TOML file, or one of {shipped_names()}")
    return build(Recipe, overridden(table, overrides), str(path))


def read(path: Path) -> dict[str, Any] | None:
    """Return what a TOML file says; None where there is none. Raises UserError for one that is not TOML, or cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(path, f"not a TOML file: {error}") from None
    except OSError as error:
        raise UserError(path, f"cannot be read: {error.strerror}", "it has to be a file that you may read") from None


def shipped_names() -> str:
    """Return the names of the recipes that come with HiT."""
    return ", ".join(sorted(path.stem for path in RECIPES.glob("*.toml") if path.stem != "expected"))


def given(kind: type[T], overrides: Iterable[str], where: str) -> T:
    """Make a dataclass of its defaults and `key.sub=value` overrides; `where` opens every error. Raises UserError as `build`."""
    return build(kind, overridden({}, overrides), where)


def overridden(table: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Return a TOML table with `key.sub=value` overrides set in it. Raises UserError for one of another form."""
    for override in overrides:
        _set(table, override)
    return table


def build(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    """Make a dataclass of a TOML table, checking names and types all the way down; `where` opens every error."""
    hints = typing.get_type_hints(kind)
    for key in table:
        if key not in hints:
            near = difflib.get_close_matches(key, hints, 1)
            fix = f"did you mean '{near[0]}'?" if near else f"valid keys: {', '.join(hints)}"
            raise UserError(where, f"unknown key '{key}'", fix)
    return kind(**{key: _convert(hints[key], value, f"{where}: {key}") for key, value in table.items()})


def to_table(config: "DataclassInstance") -> dict[str, Any]:
    """Turn a config into plain dicts and lists, as tomli_w and json take them; the inverse of `build`. None is left out."""
    return typing.cast(dict[str, Any], _plain(dataclasses.asdict(config)))


def _set(table: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise UserError(override, "not of the form key=value", "for example train.steps=100")
    *sections, name = key.strip().split(".")
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise UserError(override, f"'{section}' is a value, not a section")
    try:
        table[name] = tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        table[name] = value  # an unquoted string, as shells like them


def _convert(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise UserError(where, f"expected a section, got {value!r}")
        return build(typing.cast(type[Any], hint), value, where)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value not in args:
            raise UserError(where, f"{value!r} is not one of {', '.join(map(repr, args))}")
        return value
    if origin is tuple and isinstance(value, list | tuple):
        if args[-1] is not ... and len(value) != len(args):
            raise UserError(where, f"expected {len(args)} values, got {len(value)}")
        kinds = [args[0]] * len(value) if args[-1] is ... else args
        return tuple(_convert(kind, item, where) for kind, item in zip(kinds, value, strict=True))
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _convert(args[0], value, where)
    if isinstance(value, Mapping) and origin is not None and issubclass(origin, Mapping):
        return {key: _convert(args[1], item, f"{where}.{key}") for key, item in value.items()}
    if hint is Any:
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(hint, type) or not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise UserError(where, f"expected {getattr(hint, '__name__', hint)}, got {value!r}")
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
