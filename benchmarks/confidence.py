"""How far a demo's model keeps its word about confidence: on its test clips, and on 200 queries that nothing answers.

Of the first answers to the test captions, each of which has its clip in the library, with bins of equal mass: `ece` and `brier`
count a clip as right if the caption is true of it, by the facts from which both were made; `ece_own` counts the caption's own
clip alone; `ece_mixed` is `ece` over these and, in the shares that the fit takes for granted, queries whose clips were taken away
and the 200. `false_refusals` is the share of captions rightly answered that get "no good match", `refused_with_answer` that of
all captions, and refused_* that of queries without an answer. `top10`: all first ten hits. `sizes`: libraries of some of the
test clips, of all, and of all beside the training clips. `query_bank`: R@1 as it is and normalised. One JSON line.

    python benchmarks/confidence.py [DEMO_DIR [CORPUS]]

CORPUS is another one than the demo's, made with another seed: clips that nobody has looked at.
"""

import csv
import json
import re
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hit import calibration, confidence, datasets, hubness, metrics, reliability, splits
from hit.analysis import load_experts
from hit.calibration import Calibration
from hit.datasets.corpus import grammar
from hit.encoder import load_encoder
from hit.measure import Measured, measure
from hit.metrics import Ints, Values
from hit.types import Floats

QUERIES = Path(__file__).with_name("out_of_corpus.txt")
HITS = 10
KINDS = {"nonsense": ("letters", "salad", "script"), "out_of_corpus": ("everyday", "shared")}
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Bench:
    """A calibration and what it is tried on: test captions and clips, which are true of which (T, V), and the strange queries."""

    by: Calibration
    test: Measured
    true: Flags
    distractors: Floats
    strange: Floats
    kinds: NDArray[np.str_]

    def first(self, texts: Floats, clips: Floats, without: Flags | None = None) -> tuple[Values, Ints]:
        """Return the confidence (Q,) of the first answer to each text, and which clip it is; none that is `without`."""
        queries = texts * self.by.scale
        scores, rows = queries @ clips.T, np.arange(len(queries))
        if without is not None:
            scores = np.where(without, np.float32(-np.inf), scores)
        best = scores.argmax(axis=1)
        return self.by.judge_each(queries, rows, scores[rows, best], len(clips)).astype(np.float64), best


def main(demo: Path, corpus: Path) -> None:
    """Print the figures, or why there are none."""
    if not (demo / "model" / calibration.FILE).exists():
        print(json.dumps({"benchmark": "confidence", "skipped": f"{demo}/model has no calibration; `hit demo` makes one"}))
        return
    bench = load(demo, corpus)
    by, test = bench.by, bench.test
    strange = bench.first(bench.strange, test.clip)[0] < by.threshold
    kinds = {name: strange[np.isin(bench.kinds, own)] for name, own in KINDS.items()}
    sized = sizes(bench)
    v2t = confidence.judged(test, by)["v2t"].to_json()
    found: dict[str, Any] = {
        "benchmark": "confidence",
        **{name: sized[str(len(test.clip))][name] for name in ("ece", "ece_own", "ece_mixed", "brier", "false_refusals")},
        "refused_with_answer": sized[str(len(test.clip))]["refused_with_answer"],
        "refused_strange": share(strange),
        **{f"refused_{name}": share(own) for name, own in kinds.items()},
        "refused_by_kind": {name: share(strange[bench.kinds == name]) for name in np.unique(bench.kinds).tolist()},
        "v2t": {name: round(v2t[name], 4) for name in ("ece", "brier", "refused", "threshold")},
        "top10": top(bench),
        "sizes": sized,
        "query_bank": query_bank(by, test),
        "threshold": round(by.threshold, 3),
        "ms_per_query": milliseconds(by, test),
        "n": {"captions": len(test.text), "clips": len(test.clip), "strange": len(strange)},
        "revision": by.revision,
    }
    print(json.dumps(found))


def load(demo: Path, corpus: Path) -> Bench:
    """Embed all that is needed of a demo's folder and a corpus."""
    encoder = load_encoder(demo / "model")
    by = Calibration.load(demo / "model", encoder.revision)
    assert by, "it is there"
    data, experts = datasets.read(corpus), load_experts(encoder.experts, encoder.identities)
    test = measure(encoder, splits.load(data, "test", experts))
    distractors = encoder.embed_clips(splits.load(data, "train", experts).features)
    with QUERIES.open(newline="") as file:
        rows = list(csv.reader((line for line in file if line[0] != "#"), delimiter="\t", quoting=csv.QUOTE_NONE))
    known = [json.loads(line) for line in (corpus / "truth.jsonl").read_text().splitlines()]
    facts = {str(Path(one["video"]).relative_to("videos").with_suffix("")): one for one in known}
    true = np.zeros((len(test.texts), len(test.ids)), np.bool_)
    for row, (text, own) in enumerate(zip(test.texts, test.owner.tolist(), strict=True)):
        true[row] = [i == own or is_true(text, facts[test.ids[own]], facts[clip]) for i, clip in enumerate(test.ids)]
    strange = encoder.embed_texts([text for _, text in rows])
    return Bench(by, test, true, distractors, strange, np.array([kind for kind, _ in rows]))


def is_true(text: str, own: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether a caption made from a clip's facts is true of another: the same events, and all else that it tells."""
    text = text.lower()
    events = [[(e["colour"], e["shape"], e["motion"]) for e in clip["events"]] for clip in (own, other)]
    if events[0] != events[1]:
        return False
    for one, two in zip(own["events"], other["events"], strict=True):
        if one["size"] != two["size"] and _tells(text, grammar.SIZES[one["size"]]):
            return False
        patterns = [words for pair in grammar.TEXTURES[one["texture"]] for words in pair]
        if one["texture"] != two["texture"] and _tells(text, patterns):
            return False
    told = {
        "sound": grammar.SOUNDS.get(own["sound"], ()),
        "word": (str(own["word"]).lower(),) if own["word"] else (),
        "pan": ("camera",) if own["pan"] else (),
    }
    return not any(own[name] != other[name] and _tells(text, words) for name, words in told.items())


def _tells(text: str, phrases: Iterable[str]) -> bool:
    return any(re.search(rf"\b{re.escape(phrase)}\b", text) for phrase in phrases)


def share(flags: Any) -> float:
    """Return the mean, rounded."""
    return round(float(np.mean(flags)), 4)


def error(sure: Values, right: Flags | Values) -> float:
    """Return the calibration error, rounded."""
    return round(reliability.ece(reliability.bins(sure, np.asarray(right, np.float64))), 4)


def sizes(bench: Bench) -> dict[str, Any]:
    """Return the figures by the size of the library; of a part of the test clips there are as many as make all of them."""
    test, found = bench.test, {}
    order = np.random.default_rng(0).permutation(len(test.clip))
    for parts in (4, 2, 1, 0):
        chosen = np.array_split(order, max(1, parts))
        more = np.empty((0, test.clip.shape[1]), np.float32) if parts else bench.distractors
        outcomes = [_library(bench, clips, more) for clips in chosen]
        found[str(len(chosen[0]) + len(more))] = _figures(
            bench, *(np.concatenate(column) for column in zip(*outcomes, strict=True))
        )
    return found


def _library(bench: Bench, clips: Ints, more: Floats) -> tuple[Values, Flags, Flags, Values, Values]:
    """Return what becomes of queries in a library of some test clips and more.

    Of these clips' captions: the confidence of the first answer, whether the caption is true of it, whether it is its own clip,
    and the confidence where no clip is left that the caption is true of. Last the confidence of the strange queries.
    """
    test = bench.test
    rows, vectors = np.flatnonzero(np.isin(test.owner, clips)), np.concatenate([test.clip[clips], more])
    none = np.zeros((len(rows), len(more)), np.bool_)
    true = np.concatenate([bench.true[np.ix_(rows, clips)], none], axis=1)
    own = np.concatenate([test.owner[rows][:, None] == clips, none], axis=1)
    sure, best = bench.first(test.text[rows], vectors)
    at = np.arange(len(rows))
    removed = bench.first(test.text[rows], vectors, true)[0]
    return sure, true[at, best], own[at, best], removed, bench.first(bench.strange, vectors)[0]


def _figures(bench: Bench, sure: Values, true: Flags, own: Flags, removed: Values, strange: Values) -> dict[str, float]:
    draws = np.random.default_rng(0)  # in the fit's proportion: some of the removed, and strange ones over again
    gone = removed[draws.permutation(len(removed))[: round(calibration.REMOVED * len(sure))]]
    odd = strange[draws.integers(len(strange), size=round(calibration.NONSENSE * len(sure)))]
    mixed = np.concatenate([sure, gone, odd])
    answered = np.concatenate([true, np.zeros(len(gone) + len(odd))])
    limit = bench.by.threshold
    return {
        "right": share(true),
        "right_own": share(own),
        "confidence": share(sure),
        "ece": error(sure, true),
        "ece_own": error(sure, own),
        "ece_mixed": error(mixed, answered),
        "brier": round(reliability.brier(sure, true.astype(np.float64)), 4),
        "false_refusals": share(sure[true] < limit),
        "refused_with_answer": share(sure < limit),
        "refused_removed": share(removed < limit),
        "refused_strange": share(strange < limit),
    }


def top(bench: Bench) -> dict[str, float]:
    """Return calibration error and Brier score of all first ten hits, by facts."""
    by, test = bench.by, bench.test
    queries = test.text * by.scale
    scores = queries @ test.clip.T
    best = np.argsort(-scores, axis=1)[:, :HITS]
    rows = np.repeat(np.arange(len(queries)), HITS)
    hits: Floats = scores[rows, best.ravel()].astype(np.float32)
    sure = by.judge_each(queries, rows, hits, len(test.clip)).astype(np.float64)
    right = bench.true[rows, best.ravel()].astype(np.float64)
    return {"ece": error(sure, right), "brier": round(reliability.brier(sure, right), 4)}


def query_bank(by: Calibration, test: Measured) -> dict[str, dict[str, float]]:
    """Return R@1 in per cent in both directions, raw and normalised over the calibration's background."""
    scale, own = by.scale / np.float32(by.weight), np.arange(len(test.clip))
    found = {}
    for way, queries, items, group, item_group, bank in (
        ("t2v", test.text, test.clip, test.owner, own, by.texts),
        ("v2t", test.clip, test.text, own, test.owner, by.clips),
    ):
        rule = hubness.query_bank(bank * scale, items)
        found[way] = {
            name: round(metrics.summary(*metrics.ranks(queries * scale, items, group, item_group, rescore=one))["R1"], 2)
            for name, one in (("raw", None), ("normalised", rule))
        }
    return found


def milliseconds(by: Calibration, test: Measured) -> float:
    """Return the CPU milliseconds of judging the ten hits of a query."""
    queries = (test.text * by.scale)[:50]
    scores = np.sort(queries @ test.clip.T, axis=1)[:, -HITS:]
    by.judge(queries[0], scores[0], len(test.clip))
    begun = time.process_time()
    for query, own in zip(queries, scores, strict=True):
        by.judge(query, own, len(test.clip))
    return round((time.process_time() - begun) / len(queries) * 1000, 2)


if __name__ == "__main__":
    given = [Path(word) for word in sys.argv[1:]] or [Path(__file__).parents[1] / "demo-out"]
    main(given[0], given[1] if given[1:] else given[0] / "corpus")
