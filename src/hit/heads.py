"""Heads: from what a tower's pooling gives to the vectors of a level, before these are brought to unit length.

Shapes: B sequences, W width of the tower, D = dim of a level, E experts.
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812  # the field's name for it
from torch import Tensor, nn

from hit.config import ModelConfig
from hit.errors import UserError

LEVELS = ("feature", "semantic")
INIT_STD = 0.02  # BERT's, and so MMT's
ROUNDING = 1e-5  # of a sum of squares, which a root would make large
REST = 2  # numbers that bring the vectors of similarity by expert to unit length


def make_heads(config: ModelConfig, video: int, text: int, experts: int) -> nn.ModuleDict:
    """Return a head per modality and level, for towers of these widths. Raises UserError for heads that do not exist."""
    dim, widths = level_dim(config, experts), {"video": video, "text": text}
    heads = nn.ModuleDict({f"{m}_{level}": _head(config.head, w, dim) for m, w in widths.items() for level in LEVELS})
    heads.apply(init)
    if config.video.semantic_pool == "experts":
        if config.head != "linear":
            raise UserError("model.head", f"'{config.head}' is not there for semantic_pool=experts", "set model.head=linear")
        heads["video_semantic"] = VideoExperts(experts, video, config.dim)
        heads["text_semantic"] = TextExperts(experts, text, config.dim)
    return heads


def level_dim(config: ModelConfig, experts: int) -> int:
    """Return D: as configured, or as much for each expert where they are matched one by one."""
    return config.dim * experts + REST if config.video.semantic_pool == "experts" else config.dim


def init(module: nn.Module) -> None:
    """Begin as BERT does."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, 0, INIT_STD)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)


class VideoExperts(nn.Module):
    """Each expert's aggregate token to a vector of its own, side by side: the video's half of similarity by expert [MMT].

    With `TextExperts`, the inner product is sum over the experts that a clip has of w_e cos_e, over the root of E: an absent
    expert adds nothing, and the text's weights stay as they are, as in MMT's public configs. Unlike there, the aggregates
    pass a linear map, and the gates are not batch-normalised. One number of each side is left to bring its vector to unit
    length, where the other side has zero.
    """

    def __init__(self, experts: int, width: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(experts, width, dim) / math.sqrt(width))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, E, W), zero where an expert is absent, to unit vectors (B, D)."""
        units = F.normalize(torch.einsum("bew,ewd->bed", x, self.weight), dim=-1)  # zero stays zero
        return _complete(units.flatten(1) / math.sqrt(len(self.weight)), 0)


class TextExperts(nn.Module):
    """A text's vector for each expert, gated by itself, times the expert's weight, a softmax over all of them [MMT]."""

    def __init__(self, experts: int, width: int, dim: int) -> None:
        super().__init__()
        self.project, self.mixture = nn.Linear(width, experts * dim), nn.Linear(width, experts)
        self.gates = nn.ModuleList(nn.Linear(dim, dim) for _ in range(experts))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, W) to unit vectors (B, D)."""
        parts = self.project(x).chunk(len(self.gates), dim=1)
        units = torch.stack([F.normalize(y * gate(y).sigmoid(), dim=1) for y, gate in zip(parts, self.gates, strict=True)], 1)
        return _complete((units * self.mixture(x).softmax(1)[..., None]).flatten(1), 1)


def _complete(x: Tensor, place: int) -> Tensor:
    """Add REST numbers to vectors (B, D - REST) of length 1 at most; the one at `place` makes up for what is missing to 1."""
    missing = 1 - x.detach().square().sum(1, keepdim=True)  # without gradient: no inner product depends on it
    missing = missing.where(missing > ROUNDING, 0).sqrt()
    return torch.cat([x, *(missing if i == place else torch.zeros_like(missing) for i in range(REST))], dim=1)


def _head(kind: str, width: int, dim: int) -> nn.Module:
    last = nn.Linear(width, dim)
    return last if kind == "linear" else nn.Sequential(nn.Linear(width, width), nn.GELU(), last)
