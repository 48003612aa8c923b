"""Packing: variable-length sequences laid end to end, so that no work is done on padding. Plain numpy; the model adds tensors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hit.errors import UserError
from hit.types import Features, Floats

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class VideoTokens:
    """A packed batch of B clips with T tokens in all.

    Before packing, tokens are stacked by kind: B [CLS], then for each expert its aggregate tokens and its feature tokens;
    `order` (T,) is the row of that stack at each packed place, so that a clip's tokens are neighbours.
    """

    lengths: Ints  # (B,) tokens of each clip
    order: Ints  # (T,)
    aggregate: Ints  # (T,) the expert whose aggregate a packed token is, by its place among the model's; -1: of none
    values: Mapping[str, Floats]  # expert -> (A + N, d): A aggregates, then N features
    seconds: Mapping[str, Floats]  # expert -> (A + N,) middle of the feature's time from the clip's start; -1: an aggregate
    phases: Mapping[str, Floats]  # the same as a share of the clip's length, in [0, 1); -1: an aggregate


@dataclass(frozen=True, slots=True, eq=False)
class TextTokens:
    """A packed batch of B texts with T word pieces in all."""

    lengths: Ints  # (B,)
    ids: Ints  # (T,)


def pack_texts(ids: Sequence[Ints]) -> TextTokens:
    """Lay the word pieces of texts end to end."""
    return TextTokens(np.array([len(i) for i in ids]), np.concatenate(ids))


def pack_clips(
    clips: Sequence[Mapping[str, Features]], experts: Mapping[str, int], max_tokens: int, aggregates: bool = True
) -> VideoTokens:
    """Pack clips, given as {expert: Features}, for a model with these `experts` {name: width}.

    An aggregate token is the maximum over ALL rows of an expert [MMT]; without `aggregates` there are none. Of the rows
    themselves at most `max_tokens` are kept, spread evenly. Experts that are absent or saw nothing have no tokens. Raises
    UserError for a wrong width and for a clip in which no expert saw anything.
    """
    if any(not any(name in experts and len(f.values) for name, f in clip.items()) for clip in clips):
        raise UserError("a clip", "has no features of any expert of the model", f"extract {', '.join(experts)} first")
    spans = [_span([f for name, f in clip.items() if name in experts]) for clip in clips]
    owners, kinds = [np.arange(len(clips))], [np.full(len(clips), -1)]
    values: dict[str, Floats] = {}
    seconds: dict[str, Floats] = {}
    phases: dict[str, Floats] = {}
    for place, (name, width) in enumerate(experts.items()):
        seen = [i for i, clip in enumerate(clips) if name in clip and len(clip[name].values)]
        if not seen:
            continue
        rows, times, shares, counts = [], [], [], []
        for i in seen:
            features = clips[i][name]
            if features.values.shape[1] != width:
                raise UserError(f"expert '{name}'", f"gave {features.values.shape[1]} numbers a row, the model wants {width}")
            keep = spread(len(features.values), max_tokens)
            rows.append(features.values[keep])
            times.append(features.times[keep].mean(axis=1) - spans[i][0])
            shares.append(times[-1] / spans[i][1])
            counts.append(len(keep))
        whole = [np.stack([clips[i][name].values.max(axis=0) for i in seen])] if aggregates else []
        timeless = np.full(len(seen) if aggregates else 0, -1, np.float32)
        values[name] = np.concatenate([*whole, *rows])
        seconds[name] = np.concatenate([timeless, *times]).astype(np.float32)
        phases[name] = np.concatenate([timeless, *shares]).astype(np.float32)
        owners += [np.array(seen)[: len(timeless)], np.repeat(seen, counts)]
        kinds += [np.full(len(timeless), place), np.full(sum(counts), -1)]
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    return VideoTokens(np.bincount(owner, minlength=len(clips)), order, np.concatenate(kinds)[order], values, seconds, phases)


def _span(features: Sequence[Features]) -> tuple[float, float]:
    """Return when the first row begins and how long it is until the last one ends."""
    start = min(float(f.times[:, 0].min()) for f in features if len(f.times))
    return start, max(max(float(f.times[:, 1].max()) for f in features if len(f.times)) - start, 1e-3)


def spread(count: int, limit: int) -> Ints:
    """Return at most `limit` indices below `count`, evenly spread, in order."""
    if count <= limit:
        return np.arange(count)
    return ((np.arange(limit) + 0.5) * count / limit).astype(np.int64)
