"""Where packed tokens lie: whose they are, and the padded grids that attention works on.

Shapes: B sequences, T tokens in all, R of them in a part, W width; a grid has b of the sequences, and L places for each.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hit.tokens import Ints

GROUP = 8  # sequences of about one length that share a grid, at least; on a GPU, where each grid costs launches, all share one


class Grid(NamedTuple):
    """Some of the sequences side by side; a shorter one repeats its last token to the end, where it is not to be seen."""

    batch: int  # b
    length: int  # L
    seen: Tensor | None  # (b, 1, 1, L) whether it is one of the sequence's own; None: all are


class Layout:
    """The places of B packed sequences.

    With `pad_to` the blocks work on one grid of that length, padding included; `spread` and `collect` lead there and back.
    Otherwise both return what they are given, and attention has grids of its own: of sequences of about one length, so that
    there is little padding, or as `groups` (the sequences of each) has them.
    """

    def __init__(
        self, lengths: Ints, device: torch.device, pad_to: int | None = None, groups: Sequence[Ints] | None = None
    ) -> None:
        self.device, self.batch, self.padded = device, len(lengths), pad_to is not None
        self.groups = groups or _groups(lengths, device, self.padded)
        self.first: Ints = lengths.cumsum() - lengths  # (B,) the packed place of each sequence's first token
        self._owner: Ints = np.repeat(np.arange(self.batch), lengths)
        self.grids: list[Grid] = []
        sources: list[Ints] = []
        back = np.empty(len(self._owner), np.int64)
        for group in self.groups:
            own = lengths[group][:, None]
            place = np.arange(pad_to or own.max())
            source, seen = self.first[group][:, None] + np.minimum(place, own - 1), place < own  # (b, L)
            back[source[seen]] = sum(len(one) for one in sources) + np.flatnonzero(seen)
            sources.append(source.ravel())
            self.grids.append(Grid(len(group), len(place), None if seen.all() else self._tensor(seen[:, None, None])))
        # The packed token of each place of the grids laid end to end, and the place of each token in these (T,).
        self._source, self._back = self._tensor(np.concatenate(sources)), self._tensor(back)
        self._as_they_lie = self.padded or (len(self.grids) == 1 and self.grids[0].seen is None)
        self.owner, self.count = self._tensor(self._owner), self._tensor(lengths)  # (T,), (B,)
        self.position = self._tensor(np.arange(len(self._owner)) - self.first[self._owner])  # (T,)
        self.rows: Tensor | None = None  # (R,) for a part of a layout: where its tokens are in the whole

    def only(self, rows: Ints) -> "Layout":
        """Return the layout of a part of the tokens, given by their packed places in order: at least one of each sequence."""
        part = Layout(np.bincount(self._owner[rows], minlength=self.batch), self.device, groups=self.groups)
        part.rows = self._tensor(rows)
        return part

    def take(self, x: Tensor) -> Tensor:
        """Pick this part's tokens (R, W) from those of the whole layout (T, W)."""
        assert self.rows is not None, "made by `only`"
        return x.index_select(0, self.rows)

    def spread(self, x: Tensor) -> Tensor:
        """Lay packed tokens (T, W) onto the grid (B * L, W) if the blocks are to work on that."""
        return x.index_select(0, self._source) if self.padded else x

    def collect(self, x: Tensor) -> Tensor:
        """Undo `spread`."""
        return x.index_select(0, self._back) if self.padded else x

    def lay(self, x: Tensor, parts: int, heads: int) -> list[Tensor]:
        """Lay what the blocks work on, `parts` vectors of W numbers a place, onto the grids: (parts, b, heads, L, W / heads)."""
        on_grids = x if self._as_they_lie else x.index_select(0, self._source)
        each = torch.split(on_grids, [grid.batch * grid.length for grid in self.grids])
        return [
            own.view(grid.batch, grid.length, parts, heads, -1).permute(2, 0, 3, 1, 4)
            for own, grid in zip(each, self.grids, strict=True)
        ]

    def join(self, laid: Sequence[Tensor]) -> Tensor:
        """Undo `lay`: from (b, heads, L, W / heads) of each grid to what the blocks work on."""
        flat = [one.transpose(1, 2).flatten(2).flatten(0, 1) for one in laid]
        return flat[0] if self._as_they_lie else torch.cat(flat).index_select(0, self._back)

    def mean(self, x: Tensor) -> Tensor:
        """Average the tokens x (T, W) of each sequence."""
        return x.new_zeros(self.batch, x.shape[1]).index_add(0, self.owner, x) / self.count[:, None]

    def phase_means(self, x: Tensor, phases: int) -> Tensor:
        """Sum the tokens x (T, W) of each of `phases` equal parts of a sequence, over the sequence's length: (B, P, W)."""
        part = self.position * phases // self.count[self.owner]
        total = x.new_zeros(self.batch * phases, x.shape[1]).index_add(0, self.owner * phases + part, x)
        return total.view(self.batch, phases, -1) / self.count[:, None, None]

    def max(self, x: Tensor) -> Tensor:
        """Maximum over the tokens x (T, W) of each sequence."""
        start = x.new_full((self.batch, x.shape[1]), -torch.inf)
        return start.scatter_reduce(0, self.owner[:, None].expand_as(x), x, "amax")

    def _tensor(self, array: NDArray[np.generic]) -> Tensor:
        return torch.as_tensor(array).to(self.device, non_blocking=True)


def _groups(lengths: Ints, device: torch.device, padded: bool) -> list[Ints]:
    parts = len(lengths) // GROUP
    if device.type != "cpu" or padded or parts < 2 or lengths.min() == lengths.max():
        return [np.arange(len(lengths))]
    return np.array_split(np.argsort(lengths, kind="stable"), parts)
