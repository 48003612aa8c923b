"""`hit evaluate`: a model's retrieval scores on a split of a data set, both directions, each level and fused."""

from pathlib import Path
from typing import Any

from hit import datasets, metrics, provenance, splits
from hit.analysis import load_experts
from hit.encoder import load_encoder, read_card
from hit.types import Progress

PROTOCOL = "every caption ranks all clips; a clip's rank among captions is its best caption's; ties by expectation"


def evaluate(model: Path, dataset: Path, split: str, progress: Progress) -> dict[str, Any]:
    """Return t2v and v2t scores {feature, semantic, fused: {R1, R5, R10, R50, geometric_mean, MdR, MnR}} and what made them.

    Raises UserError for features that are missing or of other experts than the model's.
    """
    card, encoder = read_card(model), load_encoder(model)
    clips = splits.load(datasets.read(dataset), split, load_experts(encoder.experts, encoder.identities))
    with progress.task("Evaluating", len(clips.ids)) as task:
        scores = metrics.score(encoder, clips.features, clips.captions)
        task.advance(len(clips.ids))
    return {
        **scores,
        "protocol": PROTOCOL,
        "split": split,
        "seed": card["seed"],
        "commit": provenance.commit(),
        "model": {"id": encoder.id, "revision": encoder.revision, "commit": card["commit"]},
    }
