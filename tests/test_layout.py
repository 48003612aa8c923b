"""Layouts lose no token, see no padding, and keep what grids waste small."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hit.layout import GROUP, Layout
from hit.tokens import Ints

CPU = torch.device("cpu")
LENGTHS = st.lists(st.integers(1, 12), min_size=1, max_size=5 * GROUP).map(np.array)


def tokens(lengths: Ints, width: int = 3) -> torch.Tensor:
    return torch.randn(int(lengths.sum()), width, generator=torch.Generator().manual_seed(0))


@given(LENGTHS, st.booleans())
def test_what_is_laid_on_grids_can_be_joined_again(lengths: Ints, padded: bool) -> None:
    x = tokens(lengths, 12)
    layout = Layout(lengths, CPU, 12 if padded else None)
    spread = layout.spread(x)
    laid = layout.lay(spread, 3, 2)  # (3, b, heads, L, 2) each
    assert torch.equal(layout.collect(spread), x)
    for part in range(3):
        joined = layout.join([grid[part] for grid in laid])
        assert torch.equal(layout.collect(joined), x[:, 4 * part : 4 * part + 4])


@given(LENGTHS)
def test_each_sequence_lies_in_one_grid_and_sees_all_of_itself_alone(lengths: Ints) -> None:
    layout = Layout(lengths, CPU)
    assert sorted(np.concatenate(layout.groups)) == list(range(len(lengths)))
    owner = torch.as_tensor(np.repeat(np.arange(len(lengths)), lengths)).float()[:, None]
    for (laid,), grid, group in zip(layout.lay(owner, 1, 1), layout.grids, layout.groups, strict=True):
        seen = torch.ones(grid.batch, 1, grid.length) if grid.seen is None else grid.seen[:, 0]
        assert seen.sum((1, 2)).tolist() == lengths[group].tolist()
        assert torch.equal(laid[:, 0, :, 0].long(), torch.as_tensor(group)[:, None].expand(-1, grid.length))


def test_sequences_of_one_length_share_a_grid_so_that_little_is_wasted() -> None:
    lengths = np.random.default_rng(0).integers(1, 200, 20 * GROUP)
    grids = Layout(lengths, CPU).grids
    assert [grid.batch for grid in grids] == [GROUP] * 20
    assert sum(grid.batch * grid.length for grid in grids) < 1.05 * lengths.sum()
    (whole,) = Layout(np.full(20 * GROUP, 7), CPU).grids  # no padding: nothing to part
    assert whole == (20 * GROUP, 7, None)


def test_a_part_has_its_own_tokens_in_the_groups_of_the_whole() -> None:
    lengths = np.array([3, 9, 4] * GROUP)
    layout, x = Layout(lengths, CPU), tokens(lengths)
    rows = np.concatenate([layout.first, layout.first[1::3] + 5])
    rows.sort()
    part = layout.only(rows)
    assert torch.equal(part.take(x), x[rows])
    assert [g.tolist() for g in part.groups] == [g.tolist() for g in layout.groups]
    assert torch.equal(part.mean(part.take(x))[1], (x[3] + x[8]) / 2)
    with pytest.raises(AssertionError, match="made by `only`"):
        layout.take(x)


def test_the_parts_of_a_sequence_add_up_to_its_mean() -> None:
    lengths = np.array([5, 1, 8])
    layout, x = Layout(lengths, CPU), tokens(lengths)
    parts = layout.phase_means(x, 2)
    torch.testing.assert_close(parts.sum(1), layout.mean(x))
    torch.testing.assert_close(parts[0, 0], x[:3].sum(0) / 5)  # the middle word of five belongs to the first half
    torch.testing.assert_close(parts[1], torch.stack([x[5], torch.zeros(3)]))
    torch.testing.assert_close(parts[2, 1], x[10:].sum(0) / 8)


def test_means_and_maxima_are_of_each_sequence() -> None:
    lengths = np.array([5, 1, 8])
    layout, x = Layout(lengths, CPU), tokens(lengths)
    own = torch.split(x, lengths.tolist())
    torch.testing.assert_close(layout.mean(x), torch.stack([one.mean(0) for one in own]))
    assert torch.equal(layout.max(x), torch.stack([one.max(0).values for one in own]))
