"""What a model makes of a split: embeddings, ranks, scores, and a file with the outcome of every query."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hit import hubness, metrics
from hit.errors import UserError
from hit.files import save
from hit.metrics import WAYS, Ints, Ranks, Rescore
from hit.splits import Split
from hit.types import Encoder, Floats


@dataclass(frozen=True, eq=False)
class Measured:
    """A split's clips (V) and captions (T) as an encoder embeds them; owner (T,) is the index of each caption's clip."""

    encoder: Encoder
    ids: Sequence[str]
    texts: Sequence[str]
    owner: Ints
    text: Floats  # (T, dim)
    clip: Floats  # (V, dim)

    @cached_property
    def scale(self) -> Floats:
        """Return what puts the levels' weights onto a query (dim,)."""
        return metrics.weighting(self.encoder.parts, self.encoder.weights, self.encoder.dim)

    @cached_property
    def ranks(self) -> Ranks:
        """Rank in both directions, by each level and fused."""
        return metrics.ranks_by_level(self.text, self.clip, self.owner, self.encoder.parts, self.encoder.weights)

    def scores(self) -> dict[str, Any]:
        """Return {"t2v": {level | "fused": summary}, "v2t": ..., "queries": T, "videos": V}."""
        return {**metrics.summaries(self.ranks), "queries": len(self.texts), "videos": len(self.clip)}

    def groups(self, way: str) -> Ints:
        """Return the clip of each query of a direction."""
        return self.owner if way == "t2v" else np.arange(len(self.clip))

    def rescored(self, bank: "Measured") -> dict[str, dict[str, dict[str, float]]]:
        """Return {"dual softmax": {way: summary}, "query bank": ...}, fused; the bank's queries are those of training clips.

        The levels' weights are scaled to a sum of one first, so that the temperature is one of cosines.
        """
        result: dict[str, dict[str, dict[str, float]]] = {"dual softmax": {}, "query bank": {}}
        scale = self.scale / np.float32(sum(self.encoder.weights.values()))
        for way, queries, items, others in (
            ("t2v", self.text * scale, self.clip, bank.text * scale),
            ("v2t", self.clip * scale, self.text, bank.clip * scale),
        ):
            rules: dict[str, Rescore] = {
                "dual softmax": hubness.dual_softmax(queries, items),
                "query bank": hubness.query_bank(others, items),
            }
            own, theirs = self.groups(way), self.groups("v2t" if way == "t2v" else "t2v")
            for name, rule in rules.items():
                result[name][way] = metrics.summary(*metrics.ranks(queries, items, own, theirs, rescore=rule))
        return result

    def queries(self) -> Iterator[dict[str, Any]]:
        """Yield each query of both directions: what it is, its own clip, its rank and ties by level, and the first answer."""
        firsts = {"t2v": _first(self.text * self.scale, self.clip), "v2t": _first(self.clip * self.scale, self.text)}
        for way in WAYS:
            ranks = {level: metrics.expected_rank(*pair) for level, pair in self.ranks[way].items()}
            for i, own in enumerate(self.groups(way).tolist()):
                first = int(firsts[way][i])
                yield {
                    "way": way,
                    "query": self.texts[i] if way == "t2v" else self.ids[i],
                    "clip": self.ids[own],
                    "rank": {level: float(values[i]) for level, values in ranks.items()},
                    "tied": {level: int(pair[1][i]) for level, pair in self.ranks[way].items()},
                    "first": self.ids[first] if way == "t2v" else self.texts[first],
                }


def measure(encoder: Encoder, split: Split) -> Measured:
    """Embed a split's clips and the captions of each."""
    texts, owner = metrics.unroll(split.captions)
    return Measured(encoder, split.ids, texts, owner, encoder.embed_texts(texts), encoder.embed_clips(split.features))


def write_queries(path: Path, measured: Measured) -> None:
    """Write a line of JSON for each query. Raises UserError where that cannot be written."""
    save(path, "".join(json.dumps(line) + "\n" for line in measured.queries()).encode())


@dataclass(frozen=True, eq=False)
class Outcomes:
    """The queries of one direction, as read from such a file: (query, clip) of each, and (above, tied) by level."""

    queries: Sequence[tuple[str, str]]
    ranks: Mapping[str, tuple[Ints, Ints]]

    def groups(self) -> Ints:
        """Return a number for each query's clip."""
        return np.unique([clip for _, clip in self.queries], return_inverse=True)[1]


def read_queries(path: Path) -> dict[str, Outcomes]:
    """Read what `write_queries` wrote, by direction. Raises UserError for a file that is not one."""
    fix = "give a file of `hit evaluate --queries`"
    try:
        texts = path.read_bytes().splitlines()
    except OSError as error:
        raise UserError(path, f"cannot be read: {error.strerror}", fix) from None
    lines: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for number, text in enumerate(texts, 1):
        try:
            line = json.loads(text)
            lines[line["way"]].append(line)
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{path}, line {number}", "is no query's outcome", fix) from None
    return {way: _outcomes(path, own) for way, own in lines.items()}


def _outcomes(path: Path, lines: Sequence[Mapping[str, Any]]) -> Outcomes:
    try:
        levels = list(lines[0]["rank"])
        tied = {level: np.array([line["tied"][level] for line in lines]) for level in levels}
        rank = {level: np.array([line["rank"][level] for line in lines]) for level in levels}
        ranks = {level: ((rank[level] - 1 - tied[level] / 2).round().astype(np.int64), tied[level]) for level in levels}
        return Outcomes([(line["query"], line["clip"]) for line in lines], ranks)
    except (IndexError, KeyError, TypeError):
        raise UserError(path, "has not the queries of both directions", "write it again by `hit evaluate --queries`") from None


def _first(queries: Floats, items: Floats) -> Ints:
    parts = metrics.blocks(len(queries), len(items))
    return np.concatenate([(queries[part] @ items.T).argmax(axis=1) for part in parts])
