"""What a calibration is made from: a model's embeddings of held-out pairs, of training clips and captions, and of nonsense."""

import random
from collections.abc import Sequence

import numpy as np

from hit import calibration, metrics
from hit.calibration import Calibration, Held
from hit.measure import Measured, measure
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
    mine = sorted(rng.permutation(len(learnt.ids))[: calibration.CLIPS].tolist())
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
    rng = random.Random(0)
    words = sorted({word for text in texts for word in text.split()})
    letters = sorted({letter for word in words for letter in word})
    made = (
        lambda word: "".join(rng.sample(word, len(word))),
        lambda word: rng.choice(words),
        lambda word: "".join(rng.choice(letters) for _ in word),
    )
    chosen = rng.sample(list(texts), min(count, len(texts)))
    return [" ".join(made[i % len(made)](word) for word in text.split()) for i, text in enumerate(chosen)]
