"""What there is to see and hear in the clips of a rendered corpus, as labels: words for each, and the clips that show it."""

import json
from pathlib import Path

from hit.datasets.corpus.grammar import COLOURS, MOTIONS, SHAPES, SOUNDS

LABELS: dict[str, dict[str, list[str]]] = {  # {group: {label: ways to say it}}
    "colour": {name: [f"something {word}" for word in words] for name, words in COLOURS.items()},
    "shape": {name: [f"a {word}" for word in dict.fromkeys(words)] for name, words in SHAPES.items()},
    "motion": {name: [f"something {present}" for present, _ in words] for name, words in MOTIONS.items()},
    "sound": {name: list(words) for name, words in SOUNDS.items()},
}


def read(root: Path) -> dict[str, frozenset[str]]:
    """Return the labels of each video, which is named relative to the corpus, and, for each event, "COLOUR MOTION"."""
    found = {}
    for line in (root / "truth.jsonl").read_text().splitlines():
        clip = json.loads(line)
        told = {clip["sound"]} - {None}
        for event in clip["events"]:
            told |= {event[key] for key in ("colour", "shape", "motion")} | {f"{event['colour']} {event['motion']}"}
        found[clip["video"]] = frozenset(told)
    return found
