"""HiT: two transformer towers, matched at two levels.

    video: {expert: features} -> tokens -> blocks -+-> after block `feature_block`: mean of tokens -> Linear -> unit vector
    text:  word pieces        -> tokens -> blocks -+-> after the last block: pooled              -> Linear -> unit vector

Both towers are stacks of the same block, BERT's: MMT's video transformer is one, and weights of pre-trained text encoders
fit it. Sequences are packed (see tokens.py): everything but attention itself runs on real tokens only. Shapes: B sequences,
T tokens in all, L the longest sequence, W width, D = dim of a level.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812  # the field's name for it
from safetensors.torch import load_file
from torch import Tensor, nn

from hit.config import ModelConfig
from hit.errors import UserError
from hit.tokens import Ints, TextTokens, VideoTokens

LEVELS = ("feature", "semantic")
INIT_STD, LAYER_NORM_EPS = 0.02, 1e-12  # BERT's, and so MMT's


class Levels(NamedTuple):
    """Unit vectors (B, D) of a batch at both levels."""

    feature: Tensor
    semantic: Tensor


class Layout:
    """Where packed tokens lie in the padded (B, L) grid that attention works on."""

    def __init__(self, lengths: Ints, device: torch.device) -> None:
        count = torch.as_tensor(lengths)
        self.batch, self.length = len(count), int(count.max())
        self.owner = torch.repeat_interleave(torch.arange(self.batch), count)  # (T,)
        self.position = torch.arange(len(self.owner)) - (count.cumsum(0) - count)[self.owner]  # (T,)
        self.cell = (self.owner * self.length + self.position).to(device)  # (T,)
        self.mask = (torch.arange(self.length) < count[:, None])[:, None, None].to(device)  # (B, 1, 1, L)
        self.full = bool((count == self.length).all())
        self.first = (count.cumsum(0) - count).to(device)  # (B,) the packed place of each sequence's first token
        self.owner, self.position, self.count = (t.to(device) for t in (self.owner, self.position, count))

    def mean(self, x: Tensor, chosen: Tensor | None = None) -> Tensor:
        """Average the (chosen) tokens x (T, W) of each sequence; zeros where a sequence has none."""
        owner = self.owner if chosen is None else self.owner[chosen]
        rows = x if chosen is None else x[chosen]
        total = x.new_zeros(self.batch, x.shape[1]).index_add(0, owner, rows)  # (B, W)
        return total / torch.bincount(owner, minlength=self.batch).clamp(min=1)[:, None]

    def phase_means(self, x: Tensor, phases: int) -> Tensor:
        """Sum the tokens x (T, W) of each of `phases` equal parts of a sequence, over the sequence's length: (B, P, W)."""
        part = self.position * phases // self.count[self.owner]
        total = x.new_zeros(self.batch * phases, x.shape[1]).index_add(0, self.owner * phases + part, x)
        return total.view(self.batch, phases, -1) / self.count[:, None, None]

    def max(self, x: Tensor, chosen: Tensor | None = None) -> Tensor:
        """Maximum over the (chosen) tokens x (T, W) of each sequence."""
        owner = self.owner if chosen is None else self.owner[chosen]
        rows = x if chosen is None else x[chosen]
        start = x.new_full((self.batch, x.shape[1]), -torch.inf)
        return start.scatter_reduce(0, owner[:, None].expand_as(rows), rows, "amax")


class Block(nn.Module):
    """A BERT block: self-attention, then a feed-forward layer, each added and normalised (post-norm)."""

    def __init__(self, width: int, heads: int, ffn: int, dropout: float, eps: float = LAYER_NORM_EPS) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, ffn), nn.Linear(ffn, width)
        self.norm1, self.norm2 = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """Map packed tokens (T, W) to (T, W)."""
        x = self.norm1(x + self._drop(self.out(self._attend(self.qkv(x), layout))))
        y: Tensor = self.norm2(x + self._drop(self.down(F.gelu(self.up(x)))))
        return y

    def _attend(self, qkv: Tensor, layout: Layout) -> Tensor:  # (T, 3W) -> (T, W)
        b, n = layout.batch, layout.length
        grid = qkv if layout.full else qkv.new_zeros(b * n, qkv.shape[1]).index_copy(0, layout.cell, qkv)
        q, k, v = grid.view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # each (B, heads, L, W / heads)
        seen = None if layout.full else layout.mask
        y = F.scaled_dot_product_attention(q, k, v, seen, self.dropout if self.training else 0.0)
        y = y.transpose(1, 2).reshape(b * n, -1)
        return y if layout.full else y[layout.cell]

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class VideoTower(nn.Module):
    """Experts' features to tokens to blocks. `experts` is {name: width of its features}."""

    def __init__(self, config: ModelConfig, experts: Mapping[str, int]) -> None:
        super().__init__()
        video = config.video
        self.config, self.experts = config, dict(experts)
        self.bins = math.ceil(video.max_seconds / video.time_step)
        self.project = nn.ModuleDict({name: nn.Linear(d, video.width) for name, d in experts.items()})
        self.expert = nn.ParameterDict({name: torch.zeros(video.width) for name in experts})
        self.time = nn.Embedding(self.bins + 1, video.width)  # row 0: aggregates, which have no time
        self.phase = nn.Embedding(video.phases + 1, video.width)
        self.cls = nn.Parameter(torch.zeros(video.width))
        self.norm = nn.LayerNorm(video.width, LAYER_NORM_EPS)
        block = (video.width, video.heads, video.ffn, video.dropout)
        self.blocks = nn.ModuleList(Block(*block) for _ in range(video.layers))
        self.apply(_init)
        # What a token is, when, and whose begin at one scale: with BERT's 0.02 for all, the time would be a fifteenth of the
        # feature. The gates begin as random diagonal maps, so that "red, early" and "red, late" are far apart from the first
        # step: with sums alone, the order of events is learnt many times later (docs/model.md).
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

    def forward(self, batch: VideoTokens) -> tuple[Tensor, Tensor]:
        """Return the pooled feature and semantic levels, each (B, W)."""
        config, device = self.config, self.cls.device
        layout = Layout(batch.lengths, device)
        stack = [self.cls.expand(layout.batch, -1)]
        for name, values in batch.values.items():
            x = (_tensor(values, device) - self.get_buffer(f"shift_{name}")) * self.get_buffer(f"scale_{name}")
            seconds = _tensor(batch.seconds[name], device)
            when = (seconds / config.video.time_step).floor().long().clamp(-1, self.bins - 1) + 1
            x = self.project[name](x)
            if config.video.phases:
                phase = (_tensor(batch.phases[name], device) * config.video.phases).floor().long()
                x = x * self.phase(phase.clamp(-1, config.video.phases - 1) + 1)
            x = x + self.expert[name] + self.time(when)
            stack.append(x)
        x = torch.cat(stack)[_tensor(batch.order, device)]  # (T, W)
        x = F.dropout(self.norm(x), config.video.dropout, self.training)
        for depth, block in enumerate(self.blocks, 1):
            x = block(x, layout)
            if depth == config.feature_block:
                feature = layout.mean(x)
        aggregate = _tensor(batch.aggregate, device)
        return feature, _pool(x, layout, config.video_pool, aggregate)


class TextTower(nn.Module):
    """A BERT-class encoder with the shape that `folder`'s config.json gives; `load` fills in its pre-trained weights."""

    def __init__(self, config: ModelConfig, shape: Mapping[str, int | float | str]) -> None:
        super().__init__()
        self.config = config
        self.width, depth = int(shape["hidden_size"]), min(config.text.blocks, int(shape["num_hidden_layers"]))
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
        self.apply(_init)
        if self.frozen:
            for module in (self.word, self.position, self.norm, *self.blocks[: self.lowest]):
                module.requires_grad_(False)

    def load(self, folder: Path) -> None:
        """Fill in the weights of a folder with a BERT or RoBERTa `model.safetensors`. Raises UserError if they do not fit."""
        weights = load_file(folder / "model.safetensors")
        try:
            gates = {name: tensor for name, tensor in self.state_dict().items() if name.startswith("gates.")}
            self.load_state_dict(gates | _from_bert(weights, len(self.blocks)))
        except (KeyError, RuntimeError) as error:
            raise UserError(folder / "model.safetensors", f"does not fit its config.json: {error}".replace("\n", " ")) from None

    def lower(self, batch: TextTokens, layout: Layout) -> tuple[Tensor, Tensor | None]:
        """Run the embeddings and the frozen blocks: hidden states (T, W), and if the feature level is there (B, P, W) of it.

        Without dropout, so the result depends on the text alone and can be kept.
        """
        device = self.word.weight.device
        x = self.word(_tensor(batch.ids, device)) + self.position(layout.position + self.offset)
        x, feature = self.norm(x), None
        if not self.frozen:
            x = F.dropout(x, self.config.text.dropout, self.training)
        for depth, block in enumerate(self.blocks[: self.lowest], 1):
            x = block(x, layout)
            if depth == self.config.feature_block:
                feature = layout.phase_means(x, self.config.text.phases)
        return x, feature

    def forward(self, batch: TextTokens, lower: tuple[Tensor, Tensor | None] | None = None) -> tuple[Tensor, Tensor]:
        """Return the pooled feature and semantic levels, each (B, W); `lower` may bring what `lower` returned before."""
        layout = Layout(batch.lengths, self.word.weight.device)
        x, feature = self.lower(batch, layout) if lower is None else lower
        for depth, block in enumerate(self.blocks[self.lowest :], self.lowest + 1):
            x = block(x, layout)
            if depth == self.config.feature_block:
                feature = layout.phase_means(x, self.config.text.phases)
        assert feature is not None, "feature_block lies within the tower: HiT checks it"
        if self.config.text_pool == "mean":
            return self._gate(feature, 0), self._gate(layout.phase_means(x, self.config.text.phases), 1)
        return self._gate(feature, 0), _pool(x, layout, self.config.text_pool, None)

    def _gate(self, parts: Tensor, level: int) -> Tensor:  # (B, P, W) -> (B, W)
        return (parts * self.gates[level]).sum(1) if self.gates else parts.sum(1)


class HiT(nn.Module):
    """Both towers and their heads: one Linear per level and modality, to unit vectors."""

    def __init__(self, config: ModelConfig, experts: Mapping[str, int], text_shape: Mapping[str, int | float | str]) -> None:
        super().__init__()
        self.config = config
        self.video, self.text = VideoTower(config, experts), TextTower(config, text_shape)
        for name, tower in (("video", self.video), ("text", self.text)):
            if not 1 <= config.feature_block <= len(tower.blocks):
                raise UserError(
                    "model.feature_block", f"{config.feature_block} is not a block of the {name} tower", "count from 1"
                )
        widths = {"video": config.video.width, "text": self.text.width}
        self.heads = nn.ModuleDict({f"{m}_{level}": nn.Linear(w, config.dim) for m, w in widths.items() for level in LEVELS})
        self.heads.apply(_init)

    def embed_video(self, batch: VideoTokens) -> Levels:
        """Return unit vectors of packed clips."""
        feature, semantic = self.video(batch)
        return self._levels("video", feature, semantic)

    def embed_text(self, batch: TextTokens, lower: tuple[Tensor, Tensor | None] | None = None) -> Levels:
        """Return unit vectors of packed texts."""
        feature, semantic = self.text(batch, lower)
        return self._levels("text", feature, semantic)

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


def _pool(x: Tensor, layout: Layout, how: str, chosen: Tensor | None) -> Tensor:
    if how == "cls":
        return x[layout.first]
    return layout.mean(x, chosen) if how == "mean" else layout.max(x, chosen)


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, 0, INIT_STD)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)


def _tensor(array: object, device: torch.device) -> Tensor:
    return torch.as_tensor(array).to(device, non_blocking=True)
