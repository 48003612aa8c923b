"""`hit evaluate`: a model's retrieval scores on a split of a data set, both directions, each level and fused."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hit import datasets, metrics, provenance, report, splits
from hit.analysis import load_experts
from hit.encoder import load_encoder, read_card
from hit.types import Progress

PROTOCOL = "every caption ranks all clips; a clip's rank among captions is its best caption's; ties by expectation"


def evaluate(model: Path, dataset: Path, split: str, progress: Progress, page: Path | None = None) -> dict[str, Any]:
    """Return t2v and v2t scores {feature, semantic, fused: {R1, R5, R10, R50, geometric_mean, MdR, MnR}} and what made them.

    With `page`, write the model's report on these clips there. Raises UserError for features that are missing or of other
    experts than the model's.
    """
    card, encoder = read_card(model), load_encoder(model)
    data = datasets.read(dataset)
    clips = splits.load(data, split, load_experts(encoder.experts, encoder.identities))
    with progress.task("Evaluating", len(clips.ids)) as task:
        if page is None:
            scores: Mapping[str, Any] = metrics.score(encoder, clips.features, clips.captions)
        else:
            found = report.collect(encoder, clips, data, f"split {split}")
            report.write(page, card, found)
            scores = found.scores
        task.advance(len(clips.ids))
    return {
        **scores,
        "protocol": PROTOCOL,
        "split": split,
        **({"report": str(page)} if page else {}),
        "seed": card["seed"],
        "commit": provenance.commit(),
        "model": {"id": encoder.id, "revision": encoder.revision, "commit": card["commit"]},
    }
