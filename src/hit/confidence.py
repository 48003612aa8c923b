"""Calibrations of models: made from held-out pairs, training clips, their captions and nonsense, and measured on other pairs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hit import calibration, metrics, reliability
from hit.calibration import Calibration, Held
from hit.measure import Measured
from hit.metrics import WAYS, Values
from hit.reliability import Bin
from hit.splits import Split
from hit.types import Encoder, Floats

QUERIES = 4000  # held-out texts that are fitted to, at most
NONSENSE = 400  # texts without a sense, at most


def calibrate(encoder: Encoder, revision: str, learnt: Split, held: Measured) -> Calibration:
    """Calibrate a model by what it makes of clips that it has not learnt from, beside some that it may have.

    Raises UserError for too few clips.
    """
    rng = np.random.default_rng(0)
    rows = np.sort(rng.permutation(len(held.text))[:QUERIES])
    ordered = sorted(range(len(learnt.ids)), key=learnt.ids.__getitem__)  # however they were loaded
    mine = [ordered[i] for i in rng.permutation(len(ordered))[: calibration.CLIPS]]
    texts = sorted({text for own in learnt.captions for text in own})
    texts = [texts[i] for i in rng.permutation(len(texts))[: calibration.TEXTS]]
    nothing = np.empty((0, encoder.dim), np.float32)
    clips: Floats = encoder.embed_clips([learnt.features[i] for i in mine]) if mine else nothing
    odd = nonsense([held.texts[i] for i in rows], NONSENSE)
    pairs = Held(held.text[rows], held.clip, held.owner[rows], encoder.embed_texts(odd) if odd else nothing)
    weights = held.scale, float(sum(encoder.weights.values()))
    return calibration.fit(revision, weights, pairs, clips, encoder.embed_texts(texts) if texts else nothing)


def nonsense(texts: Sequence[str], count: int) -> list[str]:
    """Return up to `count` texts without a sense, from what the given ones are made of and about as long as they are.

    By turns their words with shuffled letters, words drawn from all of them, and letters drawn so. The same for the same texts.
    """
    rng = np.random.default_rng(0)
    words = sorted({word for text in texts for word in text.split()})
    letters = sorted({letter for word in words for letter in word})
    made = (
        lambda word: "".join(word[i] for i in rng.permutation(len(word))),
        lambda word: words[rng.integers(len(words))],
        lambda word: "".join(letters[i] for i in rng.integers(len(letters), size=len(word))),
    )
    chosen = rng.permutation(len(texts))[:count].tolist()
    return [" ".join(made[i % len(made)](word) for word in texts[row].split()) for i, row in enumerate(chosen)]


@dataclass(frozen=True, eq=False)
class Judged:
    """The first answers to the queries of one direction: their confidence (Q,), whether they are right, and the threshold."""

    confidence: Values
    right: Values
    threshold: float

    @property
    def bins(self) -> list[Bin]:
        """Bins of equal mass."""
        return reliability.bins(self.confidence, self.right)

    def to_json(self) -> dict[str, Any]:
        """Return calibration error, Brier score, the share of queries whose first answer is no good match, and the bins."""
        return {
            "ece": reliability.ece(self.bins),
            "brier": reliability.brier(self.confidence, self.right),
            "refused": float((self.confidence < self.threshold).mean()),
            "threshold": self.threshold,
            "bins": [asdict(one) for one in self.bins],
        }


def judged(measured: Measured, by: Calibration) -> dict[str, Judged]:
    """Judge the first answer to each query of both directions, all of which have an answer among the others' clips and texts."""
    own = np.arange(len(measured.clip))
    found = {}
    for way, queries, group, items, item_group in (
        ("t2v", measured.text, measured.owner, measured.clip, own),
        ("v2t", measured.clip, own, measured.text, measured.owner),
    ):
        confidence, right = np.empty(len(queries)), np.empty(len(queries))
        for part in metrics.blocks(len(queries), max(len(items), len(by.texts), len(by.clips))):
            weighted = queries[part] * by.scale
            scores = weighted @ items.T
            first = scores.argmax(axis=1)
            at = np.arange(len(first))
            confidence[part] = by.judge_each(weighted, at, scores[at, first], len(items), way)
            right[part] = item_group[first] == group[part]
        found[way] = Judged(confidence, right, by.ways[way].threshold)
    assert set(found) == set(WAYS)
    return found
