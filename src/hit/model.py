"""HiT: two transformer towers, matched at two levels.

    video: {expert: features} -> tokens -> blocks -+-> after block `feature_block`: pooled -> head -> unit vector
    text:  word pieces        -> tokens -> blocks -+-> after the last block:        pooled -> head -> unit vector

Both towers are stacks of the same block, BERT's: MMT's video transformer is one, and weights of pre-trained text encoders
fit it. Sequences are packed (see tokens.py and layout.py): everything but attention itself runs on real tokens only, and the
last block on those alone that are read. Shapes: B sequences, T tokens in all, R of them read, L the longest sequence, W width,
D = dim of a level.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # the field's name for it
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from hit.config import ModelConfig
from hit.errors import UserError
from hit.heads import LEVELS, init, level_dim, make_heads
from hit.layout import Layout
from hit.tokens import TextTokens, VideoTokens, pack_clips
from hit.types import Features

LAYER_NORM_EPS = 1e-12  # BERT's, and so MMT's
Lower = tuple[Tensor, Tensor | None]  # what TextTower.lower returns


class Levels(NamedTuple):
    """Unit vectors (B, D) of a batch at both levels."""

    feature: Tensor
    semantic: Tensor


class Block(nn.Module):
    """A BERT block: self-attention, then a feed-forward layer, each added and normalised (post-norm)."""

    def __init__(self, width: int, heads: int, ffn: int, dropout: float, eps: float = LAYER_NORM_EPS) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, ffn), nn.Linear(ffn, width)
        self.norm1, self.norm2 = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)

    def forward(self, x: Tensor, layout: Layout, read: Layout | None = None) -> Tensor:
        """Map tokens (T, W) to (T, W), or the padded grid (B * L, W) to itself, as `layout` has it.

        With `read`, a part of the layout, compute only its tokens (R, W): each of them sees all tokens of its sequence.
        """
        own = x if read is None else read.take(x)
        own = self.norm1(own + self._drop(self.out(self._attend(x, own, layout, read))))
        y: Tensor = self.norm2(own + self._drop(self.down(F.gelu(self.up(own)))))
        return y

    def compile(self, *given: Any, **named: Any) -> None:
        """Compile all but the attention: it has many shapes, so minutes of compiling, and nothing that could be fused."""
        # Not as a decorator: that loads the compiler, which takes as long as all of torch, in each process that searches.
        self._attend = torch.compiler.disable(self._attend)  # type: ignore[method-assign,no-untyped-call]
        super().compile(*given, **named)

    def _attend(self, x: Tensor, own: Tensor, layout: Layout, read: Layout | None) -> Tensor:
        heads: list[tuple[Tensor, ...]]
        if read is None:
            heads = [grid.unbind() for grid in layout.lay(self.qkv(x), 3, self.heads)]
        else:
            sizes = [x.shape[1], 2 * x.shape[1]]
            (wq, wkv), (bq, bkv) = (torch.split(p, sizes) for p in (self.qkv.weight, self.qkv.bias))
            queries = read.lay(F.linear(own, wq, bq), 1, self.heads)
            seen = layout.lay(F.linear(x, wkv, bkv), 2, self.heads)
            heads = [(*q, *kv) for q, kv in zip(queries, seen, strict=True)]
        drop = self.dropout if self.training else 0.0
        found = [
            F.scaled_dot_product_attention(q, k, v, grid.seen, drop) for (q, k, v), grid in zip(heads, layout.grids, strict=True)
        ]
        return (read or layout).join(found)

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class VideoTower(nn.Module):
    """Experts' features to tokens to blocks. `experts` is {name: width of its features}."""

    def __init__(self, config: ModelConfig, experts: Mapping[str, int]) -> None:
        super().__init__()
        video = config.video
        self.config, self.experts = config, dict(experts)
        self.longest = None if config.packed else 1 + len(experts) * (video.max_tokens + video.aggregates)
        self.bins = math.ceil(video.max_seconds / video.time_step)
        self.project = nn.ModuleDict({name: nn.Linear(d, video.width) for name, d in experts.items()})
        self.expert = nn.ParameterDict({name: torch.zeros(video.width) for name in experts})
        self.time = nn.Embedding(self.bins + 1, video.width)  # row 0: aggregates, which have no time
        self.phase = nn.Embedding(video.phases + 1, video.width)
        self.cls = nn.Parameter(torch.zeros(video.width))
        self.norm = nn.LayerNorm(video.width, LAYER_NORM_EPS)
        block = (video.width, video.heads, video.ffn, video.dropout)
        self.blocks = nn.ModuleList(Block(*block) for _ in range(video.layers))
        self.apply(init)
        # What a token is, when, and whose begin at one scale: with BERT's 0.02 for all, the time would be a fifteenth of the
        # feature. The gates begin as random diagonal maps, so that "red, early" and "red, late" are far apart from the first
        # step: with sums alone, the order of events is learnt many times later (docs/method.md).
        for name, d in experts.items():
            nn.init.normal_(self.get_parameter(f"project.{name}.weight"), 0, 1 / math.sqrt(d))
        for parameter in (self.cls, self.time.weight, self.phase.weight, *self.expert.values()):
            nn.init.normal_(parameter)
        for name, d in experts.items():  # training data's scale, so that experts of any unit begin alike
            self.register_buffer(f"shift_{name}", torch.zeros(d))
            self.register_buffer(f"scale_{name}", torch.ones(()))

    def fit_scale(self, name: str, values: Tensor) -> None:
        """Centre an expert's features (n, d) from now on at the mean of these, and divide all by one deviation.

        One for all d, so that an expert's own proportions stay: what hardly varies is not blown up.
        """
        mean = values.mean(0)
        self.get_buffer(f"shift_{name}").copy_(mean)
        self.get_buffer(f"scale_{name}").fill_(1 / max(float((values - mean).std()), 1e-6))

    def pack(self, clips: Sequence[Mapping[str, Features]]) -> VideoTokens:
        """Make a batch of clips for this tower. Raises UserError as `pack_clips` does."""
        return pack_clips(clips, self.experts, self.config.video.max_tokens, self.config.video.aggregates)

    def forward(self, batch: VideoTokens) -> tuple[Tensor, Tensor]:
        """Return the pooled feature and semantic levels, each (B, W); the latter (B, E, W) where it is to be by expert."""
        config, device = self.config.video, self.cls.device
        layout = Layout(batch.lengths, device, self.longest)
        stack = [self.cls.expand(layout.batch, -1)]
        for name, values in batch.values.items():
            x = (_tensor(values, device) - self.get_buffer(f"shift_{name}")) * self.get_buffer(f"scale_{name}")
            seconds = _tensor(batch.seconds[name], device)
            when = (seconds / config.time_step).floor().long().clamp(-1, self.bins - 1) + 1
            x = self.project[name](x)
            if config.phases:
                phase = (_tensor(batch.phases[name], device) * config.phases).floor().long()
                x = x * self.phase(phase.clamp(-1, config.phases - 1) + 1)
            x = x + self.expert[name] + self.time(when)
            stack.append(x)
        x = torch.cat(stack)[_tensor(batch.order, device)]  # (T, W)
        x = layout.spread(F.dropout(self.norm(x), config.dropout, self.training))
        early, late = (_part(layout, how, batch.aggregate) for how in (config.feature_pool, config.semantic_pool))
        low, high = _climb(self.blocks, x, layout, config.feature_block, late)
        assert low is not None, "feature_block lies within the tower: HiT checks it"
        feature = _pool(early.take(low) if early else low, early or layout, config.feature_pool)
        if config.semantic_pool == "experts":
            assert late, "aggregates are a part of the tokens"
            own = late.owner * len(self.experts) + _tensor(batch.aggregate[batch.aggregate >= 0], device)
            by_expert = high.new_zeros(layout.batch * len(self.experts), high.shape[1]).index_copy(0, own, high)
            return feature, by_expert.view(layout.batch, len(self.experts), -1)
        return feature, _pool(high, late or layout, config.semantic_pool)


class TextTower(nn.Module):
    """A BERT-class encoder with the shape that `folder`'s config.json gives; `load` fills in its pre-trained weights."""

    def __init__(self, config: ModelConfig, shape: Mapping[str, int | float | str]) -> None:
        super().__init__()
        self.config = config
        self.width, depth = int(shape["hidden_size"]), min(config.text.blocks, int(shape["num_hidden_layers"]))
        self.longest = None if config.packed else config.text.max_tokens
        eps, dropout = float(shape.get("layer_norm_eps", LAYER_NORM_EPS)), config.text.dropout
        # RoBERTa counts positions from the padding id + 1
        self.offset = 0 if shape["model_type"] == "bert" else int(shape["pad_token_id"]) + 1
        self.word = nn.Embedding(int(shape["vocab_size"]), self.width)
        self.position = nn.Embedding(int(shape["max_position_embeddings"]), self.width)
        self.norm = nn.LayerNorm(self.width, eps)
        # Beginning at one with a random part, so that "red" among the first words and among the last are apart at once.
        gates = [nn.Parameter(torch.randn(config.text.phases, self.width)) for _ in range(2)]
        self.gates = nn.ParameterList(gates if config.text.phases > 1 else [])
        self.lowest = max(0, depth - config.text.trained_blocks)  # the first trained block, from 0
        self.frozen = config.text.trained_blocks <= depth  # the embeddings, and the blocks below
        block = (self.width, int(shape["num_attention_heads"]), int(shape["intermediate_size"]))
        self.blocks = nn.ModuleList(Block(*block, dropout if i >= self.lowest else 0.0, eps) for i in range(depth))
        self.apply(init)
        if self.frozen:
            for module in (self.word, self.position, self.norm, *self.blocks[: self.lowest]):
                module.requires_grad_(False)

    def load(self, folder: Path) -> None:
        """Fill in the weights of a folder with a BERT or RoBERTa `model.safetensors`. Raises UserError if they do not fit."""
        try:
            weights = load_file(folder / "model.safetensors")
            gates = {name: tensor for name, tensor in self.state_dict().items() if name.startswith("gates.")}
            self.load_state_dict(gates | _from_bert(weights, len(self.blocks)))
        except (KeyError, RuntimeError, SafetensorError) as error:
            raise UserError(folder / "model.safetensors", f"does not fit its config.json: {error}".replace("\n", " ")) from None

    def lower(self, batch: TextTokens) -> Lower:
        """Run the embeddings and the frozen blocks: hidden states (T, W), and if the feature level is there (B, P, W) of it.

        Without dropout, so the result depends on the text alone and can be kept.
        """
        device = self.word.weight.device
        layout = Layout(batch.lengths, device, self.longest)
        x = self.word(_tensor(batch.ids, device)) + self.position(layout.position + self.offset)
        x = self.norm(x)
        if not self.frozen:
            x = F.dropout(x, self.config.text.dropout, self.training)
        low, x = _climb(self.blocks[: self.lowest], layout.spread(x), layout, self.config.text.feature_block)
        return x, None if low is None else self._feature(low, layout)

    def forward(self, batch: TextTokens, lower: Lower | None = None) -> tuple[Tensor, Tensor]:
        """Return the pooled feature and semantic levels, each (B, W); `lower` may bring what `lower` returned before."""
        config, layout = self.config.text, Layout(batch.lengths, self.word.weight.device, self.longest)
        x, feature = self.lower(batch) if lower is None else lower
        late = _part(layout, config.semantic_pool)
        middle = -1 if feature is not None else config.feature_block - self.lowest
        low, x = _climb(self.blocks[self.lowest :], layout.spread(x), layout, middle, late)
        feature = feature if low is None else self._feature(low, layout)
        assert feature is not None, "feature_block lies within the tower: HiT checks it"
        return self._gate(feature, 0), self._gate(self._read(x, late or layout, config.semantic_pool), 1)

    def _feature(self, x: Tensor, layout: Layout) -> Tensor:  # (T, W) -> (B, P, W)
        early = _part(layout, self.config.text.feature_pool)
        return self._read(early.take(x) if early else x, early or layout, self.config.text.feature_pool)

    def _read(self, x: Tensor, layout: Layout, how: str) -> Tensor:  # (T, W) -> (B, P, W); P = 1 but for means by phase
        return layout.phase_means(x, self.config.text.phases) if how == "mean" else _pool(x, layout, how)[:, None]

    def _gate(self, parts: Tensor, level: int) -> Tensor:  # (B, P, W) -> (B, W)
        return (parts * self.gates[level]).sum(1) if parts.shape[1] > 1 else parts[:, 0]


class HiT(nn.Module):
    """Both towers and their heads, one per level and modality, to unit vectors."""

    def __init__(self, config: ModelConfig, experts: Mapping[str, int], text_shape: Mapping[str, int | float | str]) -> None:
        super().__init__()
        self.config = config
        self.video, self.text = VideoTower(config, experts), TextTower(config, text_shape)
        for name, tower, place in (("video", self.video, config.video), ("text", self.text, config.text)):
            if not 0 <= place.feature_block <= len(tower.blocks):
                why = f"{place.feature_block} is not a block of the {name} tower, which has {len(tower.blocks)}"
                raise UserError(f"model.{name}.feature_block", why, "count from 1; 0 is what goes into the first one")
        if {"aggregate", "experts"} & {config.video.feature_pool, config.video.semantic_pool} and not config.video.aggregates:
            raise UserError("model.video", "pools its aggregate tokens but has none", "set its pools to mean, or aggregates=true")
        self.dim = level_dim(config, len(experts))  # D
        self.heads = make_heads(config, config.video.width, self.text.width, len(experts))

    def forward(self, clips: VideoTokens, texts: TextTokens, lower: Lower | None = None) -> tuple[Levels, Levels]:
        """Return the unit vectors of packed clips and of packed texts."""
        return self.embed_video(clips), self.embed_text(texts, lower)

    def embed_video(self, batch: VideoTokens) -> Levels:
        """Return unit vectors of packed clips."""
        feature, semantic = self.video(batch)
        return self._levels("video", feature, semantic)

    def embed_text(self, batch: TextTokens, lower: Lower | None = None) -> Levels:
        """Return unit vectors of packed texts."""
        feature, semantic = self.text(batch, lower)
        return self._levels("text", feature, semantic)

    @torch.no_grad()
    def whiten_video(self, batches: Iterable[VideoTokens]) -> None:
        """Begin the video heads as a whitening of what the tower, as it is, gives for these clips.

        Each head becomes a rotation of the D strongest principal directions, each divided by its deviation (and a tenth of
        the mean one, so that what hardly varies is not blown up). A random tower keeps when and what apart, but its outputs
        share most of their length; whitened, what differs between clips is what a text has to match. Raises UserError for
        heads that are not linear.
        """
        if self.config.head != "linear" or self.config.video.semantic_pool == "experts":
            raise UserError("train.whiten_heads", "needs linear heads", "set model.head=linear, and pool otherwise than experts")
        pooled = [self.video(batch) for batch in batches]
        for i, level in enumerate(LEVELS):
            x = torch.cat([part[i] for part in pooled])
            variance, directions = torch.linalg.eigh(torch.cov(x.T))  # ascending
            scale = (variance.clamp(min=0) + 0.1 * variance.mean()).rsqrt()
            rank = min(self.config.dim, len(variance))
            rows = (directions * scale).T.flip(0)[:rank]  # (R, W)
            turn, _ = torch.linalg.qr(torch.randn(self.config.dim, rank))
            weight = turn.to(x) @ rows / math.sqrt(rank)
            self.heads.get_parameter(f"video_{level}.weight").copy_(weight)
            self.heads.get_parameter(f"video_{level}.bias").copy_(-weight @ x.mean(0))

    def _levels(self, modality: str, feature: Tensor, semantic: Tensor) -> Levels:
        # float32 whatever autocast does: the vectors go into banks and inner products
        heads = (self.heads[f"{modality}_feature"](feature), self.heads[f"{modality}_semantic"](semantic))
        return Levels(*(F.normalize(y.float(), dim=1) for y in heads))


def text_shape(folder: Path) -> dict[str, int | float | str]:
    """Read the config.json of a text encoder. Raises UserError for one that is not of BERT's or RoBERTa's form."""
    shape: dict[str, int | float | str] = json.loads((folder / "config.json").read_text())
    kind, activation = shape.get("model_type"), shape.get("hidden_act", "gelu")
    if kind not in ("bert", "roberta", "xlm-roberta", "camembert") or activation != "gelu":
        raise UserError(folder, f"a text encoder of type {kind} ({activation})", "use BERT, RoBERTa or XLM-RoBERTa with gelu")
    return shape


def _from_bert(weights: Mapping[str, Tensor], depth: int) -> dict[str, Tensor]:
    """Rename a BERT or RoBERTa checkpoint, with or without its 'bert.' prefix, to a TextTower's state."""
    start = next((key[: -len(tail)] for key in weights if key.endswith(tail := "embeddings.word_embeddings.weight")), "")
    w = {key.removeprefix(start): value for key, value in weights.items() if key.startswith(start)}
    embeddings = "embeddings."
    state = {
        "word.weight": w[embeddings + "word_embeddings.weight"],
        # one sentence a text: token type 0 everywhere, so its embedding joins the positions'
        "position.weight": w[embeddings + "position_embeddings.weight"] + w[embeddings + "token_type_embeddings.weight"][0],
        "norm.weight": w[embeddings + "LayerNorm.weight"],
        "norm.bias": w[embeddings + "LayerNorm.bias"],
    }
    names = {
        "out": "attention.output.dense",
        "norm1": "attention.output.LayerNorm",
        "up": "intermediate.dense",
        "down": "output.dense",
        "norm2": "output.LayerNorm",
    }
    for i in range(depth):
        for kind in ("weight", "bias"):
            layer = f"encoder.layer.{i}."
            parts = [w[f"{layer}attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            state[f"blocks.{i}.qkv.{kind}"] = torch.cat(parts)
            state |= {f"blocks.{i}.{ours}.{kind}": w[f"{layer}{theirs}.{kind}"] for ours, theirs in names.items()}
    return state


def _climb(
    blocks: Iterable[nn.Module], x: Tensor, layout: Layout, middle: int, late: Layout | None = None
) -> tuple[Tensor | None, Tensor]:
    """Run blocks: return the tokens (T, W) after the block `middle`, from 1 (0: before), and those at the end or `late`'s part.

    What is not read is not computed: the last block then works on that part, unless fixed shapes are wanted.
    """
    low, rest = layout.collect(x) if middle == 0 else None, list(blocks)
    for depth, block in enumerate(rest, 1):
        if late and depth == len(rest) and depth != middle and not layout.padded:
            return low, block(x, layout, late)
        x = block(x, layout)
        if depth == middle:
            low = layout.collect(x)
    x = layout.collect(x)
    return low, late.take(x) if late else x


def _part(layout: Layout, how: str, aggregate: NDArray[np.int64] | None = None) -> Layout | None:
    """Return where the tokens lie that a pooling reads, if it does not read all."""
    if how == "cls":
        return layout.only(layout.first)
    return layout.only(np.flatnonzero(aggregate >= 0)) if how in ("aggregate", "experts") and aggregate is not None else None


def _pool(x: Tensor, layout: Layout, how: str) -> Tensor:
    return layout.max(x) if how == "max" else layout.mean(x)


def _tensor(array: object, device: torch.device) -> Tensor:
    return torch.as_tensor(array).to(device, non_blocking=True)
