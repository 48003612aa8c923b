"""`hit evaluate`: a model's retrieval scores on a split of a data set, both directions, each level and fused."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hit import datasets, metrics, provenance, splits
from hit import experts as plugins
from hit.encoder import HiTEncoder, load_encoder, read_card
from hit.errors import UserError
from hit.types import Expert, Progress

PROTOCOL = "every caption ranks all clips; a clip's rank among captions is its best caption's; ties by expectation"


def evaluate(model: Path, dataset: Path, split: str, progress: Progress) -> dict[str, Any]:
    """Return t2v and v2t scores {feature, semantic, fused: {R1, R5, R10, R50, geometric_mean, MdR, MnR}} and what made them.

    Raises UserError for features that are missing or of other experts than the model's.
    """
    card, encoder = read_card(model), load_encoder(model)
    clips = splits.load(datasets.read(dataset), split, model_experts(encoder))
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


def model_experts(encoder: HiTEncoder) -> Mapping[str, Expert]:
    """Load the experts that a model was trained with. Raises UserError where one of them has changed since."""
    experts = plugins.load_all(encoder.experts)
    for name, expert in experts.items():
        if expert.identity != encoder.identities[name]:
            why = f"is now '{expert.identity}', but model {encoder.id} was trained with '{encoder.identities[name]}'"
            raise UserError(f"expert '{name}'", why, "install the version it was trained with, or train again")
    return experts
