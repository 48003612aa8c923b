"""Heads: from what a tower's pooling gives to the vectors of a level, before these are brought to unit length.

Shapes: B sequences, W width of the tower, D = dim of a level, E experts.
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812  # the field's name for it
from torch import Tensor, nn

from hit.config import ModelConfig

LEVELS = ("feature", "semantic")
INIT_STD = 0.02  # BERT's, and so MMT's


def make_heads(config: ModelConfig, video: int, text: int, experts: int) -> nn.ModuleDict:
    """Return a head per modality and level, for towers of these widths."""
    dim, widths = level_dim(config, experts), {"video": video, "text": text}
    heads = nn.ModuleDict({f"{m}_{level}": _head(config.head, w, dim) for m, w in widths.items() for level in LEVELS})
    heads.apply(init)
    if config.video.semantic_pool == "experts":
        heads["video_semantic"] = VideoExperts(experts, video, config.dim)
        heads["text_semantic"] = TextExperts(experts, text, config.dim)
    return heads


def level_dim(config: ModelConfig, experts: int) -> int:
    """Return D: as configured, and as much for each expert where they are matched one by one."""
    return config.dim * (experts if config.video.semantic_pool == "experts" else 1)


def init(module: nn.Module) -> None:
    """Begin as BERT does."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, 0, INIT_STD)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)


class VideoExperts(nn.Module):
    """Experts' aggregates (B, E, W), zero where one is absent, to unit vectors of D / E numbers side by side; zero where absent.

    With `TextExperts` the cosine of two levels is the mean over the experts that a clip has of their cosines, weighted by the
    text: MMT's similarity but for the norm of the weights, so that it stays an inner product of two vectors.
    """

    def __init__(self, experts: int, width: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(experts, width, dim) / math.sqrt(width))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, E, W) to (B, D)."""
        return F.normalize(torch.einsum("bew,ewd->bed", x, self.weight), dim=-1).flatten(1)


class TextExperts(nn.Module):
    """A text's pooled vector (B, W) to a unit vector for each expert times the expert's weight, side by side (B, D).

    Each is gated by itself, and the weights are a softmax over the experts [MMT's gated embedding units, mixture weights].
    """

    def __init__(self, experts: int, width: int, dim: int) -> None:
        super().__init__()
        self.project, self.mixture = nn.Linear(width, experts * dim), nn.Linear(width, experts)
        self.gates = nn.ModuleList(nn.Linear(dim, dim) for _ in range(experts))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, W) to (B, D)."""
        parts = self.project(x).chunk(len(self.gates), dim=1)
        units = [F.normalize(y * gate(y).sigmoid(), dim=1) for y, gate in zip(parts, self.gates, strict=True)]
        return torch.cat([y * w for y, w in zip(units, self.mixture(x).softmax(1).split(1, dim=1), strict=True)], dim=1)


def _head(kind: str, width: int, dim: int) -> nn.Module:
    last = nn.Linear(width, dim)
    return last if kind == "linear" else nn.Sequential(nn.Linear(width, width), nn.GELU(), last)
