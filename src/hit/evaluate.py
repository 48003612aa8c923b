"""`hit evaluate`: a model's retrieval scores on a split of a data set, both directions, each level and fused."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hit import confidence, datasets, intervals, provenance, report, splits
from hit.analysis import load_experts
from hit.calibration import Calibration
from hit.datasets import Dataset
from hit.encoder import read_card
from hit.errors import UserError
from hit.measure import Measured, measure, write_queries
from hit.types import Encoder, Expert, Progress
from hit.zeroshot import ZeroShotEncoder, open_encoder

PROTOCOL = "every caption ranks all clips; a clip's rank among captions is its best caption's; ties by expectation"
BANK = 10_000  # training captions in the query bank, if there are so many, and the clips of these


def evaluate(
    model: Path,
    dataset: Path,
    split: str,
    progress: Progress,
    page: Path | None = None,
    queries: Path | None = None,
    post: bool = False,
) -> dict[str, Any]:
    """Return t2v and v2t scores {feature, semantic, fused: {R1, R5, R10, R50, geometric_mean, MdR, MnR}} and what made them.

    With `page`, write the model's report on these clips there, its numbers beside it; with `queries`, the outcome of every
    query. `post` adds what dual softmax and query-bank normalisation make of the fused scores. Where the model has a
    calibration, it is measured on the first answers. Raises UserError for features that are missing or of other experts than
    the model's.
    """
    card, encoder = read_card(model), open_encoder(model, "auto")
    if page and isinstance(encoder, ZeroShotEncoder):
        raise UserError(model, "is a zero-shot model: the page shows how a model was trained", "leave out --report")
    data = datasets.read(dataset)
    experts = load_experts(encoder.experts, encoder.identities)
    clips = splits.load(data, split, experts)
    with progress.task("Evaluating", len(clips.ids)) as task:
        measured = measure(encoder, clips)
        judge = Calibration.load(model, encoder.revision)
        sure = confidence.judged(measured, judge) if judge else {}
        ways = {way: intervals.intervals([levels["fused"]], measured.groups(way)) for way, levels in measured.ranks.items()}
        if page:
            found = report.collect(measured, data, f"split {split}", {way: one.bins for way, one in sure.items()}, ways)
            report.write(page, card, found)
        if queries:
            write_queries(queries, measured)
        task.advance(len(clips.ids))
    return {
        **measured.scores(),
        "intervals": ways,
        **({"post": measured.rescored(bank(encoder, data, card["recipe"]["data"]["train_split"], experts))} if post else {}),
        **({"confidence": {way: one.to_json() for way, one in sure.items()}} if sure else {}),
        "protocol": PROTOCOL,
        "split": split,
        **({"report": str(page)} if page else {}),
        **({"per_query": str(queries)} if queries else {}),
        "seed": card["seed"],
        "commit": provenance.commit(),
        "model": {"id": encoder.id, "revision": encoder.revision, "commit": card["commit"]},
    }


def bank(encoder: Encoder, data: Dataset, split: str, experts: Mapping[str, Expert]) -> Measured:
    """Embed about BANK training captions and their clips: the queries of query-bank normalisation."""
    return measure(encoder, splits.load(data, split, experts, BANK))
