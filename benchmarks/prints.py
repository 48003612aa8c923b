"""Copies of videos that were changed, against other videos: which the bank's hashes of frames tell apart.

python benchmarks/prints.py [FOLDER...] [--seconds 12] [--tiny]

The videos are those in the folders, ../shared/data/clips unless others are named, and rendered ones; of each the first seconds.
How many bits two frames may differ by, and which share of frames must be so near, are chosen on half of the videos: as many
copies found as can be without one false match, and of those pairs the middle. What is reported is the other half: the share of
copies of each kind that are found (recall), and how many of its pairs of different videos, changed or not, are taken for copies.
"""

import argparse
import io
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance

from hit import render, sources, video
from hit.datasets.corpus import LEAST_CLIPS
from hit.moderation import bank, prints
from hit.moderation.prints import Prints
from hit.places import Places
from hit.remote import Remote
from hit.types import Bytes, Clip, FrameWant, Silent, Where

RATE = 4.0  # pictures a second of copies
BITS = range(24, 101, 4)
SHARES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
Change = Callable[[Image.Image], Image.Image]


def encoded(image: Image.Image) -> Image.Image:
    """Return a picture as a poor JPEG leaves it."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=15)
    return Image.open(file).convert("RGB")


def resized(image: Image.Image) -> Image.Image:
    """Return a picture of less than half the size, of a slightly other shape."""
    return image.resize((max(16, int(image.width * 0.45)), max(16, int(image.height * 0.4))))


def cropped(share: float) -> Change:
    """Return a change that cuts this share of the width and height off, in all."""

    def change(image: Image.Image) -> Image.Image:
        x, y = image.width * share / 2, image.height * share / 2
        return image.crop((round(x), round(y), round(image.width - x), round(image.height - y)))

    return change


def letterboxed(image: Image.Image) -> Image.Image:
    """Return a picture between black bars, a fifth of the height each."""
    bar = image.height // 5
    whole = Image.new("RGB", (image.width, image.height + 2 * bar))
    whole.paste(image, (0, bar))
    return whole


def captioned(image: Image.Image) -> Image.Image:
    """Return a picture with white words on a dark ground over its lower eighth."""
    whole = image.copy()
    drawn = ImageDraw.Draw(whole)
    drawn.rectangle((0, whole.height * 7 // 8, whole.width, whole.height), fill=(10, 10, 10))
    drawn.text((whole.width // 10, whole.height * 7 // 8), "what everybody should have seen by now", fill=(255, 255, 255))
    return whole


def bright(factor: float) -> Change:
    """Return a change of brightness."""
    return lambda image: ImageEnhance.Brightness(image).enhance(factor)


CHANGES: Mapping[str, Change] = {
    "encoded": encoded,
    "resized": resized,
    "cropped_5pct": cropped(0.05),
    "cropped_10pct": cropped(0.10),
    "letterboxed": letterboxed,
    "captioned": captioned,
    "darker": bright(0.6),
    "brighter": bright(1.4),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}
NOT_CHOSEN_BY = ("mirrored",)  # known to be no copy for these hashes: reported alone


def main(folders: Sequence[str], seconds: float, tiny: bool) -> None:
    """Print one JSON line."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        render.render_corpus(folder / "corpus", LEAST_CLIPS if tiny else 48, 5, workers=1, progress=Silent())
        named = [*folders, str(folder / "corpus" / "videos")]
        paths = sources.find(named, remote=Remote(folder / "remote"), roots=Places()).paths
        changes = {key: CHANGES[key] for key in ("encoded", "mirrored")} if tiny else CHANGES
        made = [copies(path, folder, seconds, changes) for path in paths]
    made = [one for one in made if len(one["original"].times)]
    order = np.random.default_rng(0).permutation(len(made)).tolist()
    chosen, rest = ([made[i] for i in order[part::2]] for part in (0, 1))
    bits, share = choose(measure(chosen))
    found, own = measure(rest), (bank.NEAR, bank.SHARE)
    line = {
        "benchmark": "prints",
        "videos": {"chosen_by": len(chosen), "reported": len(rest)},
        "seconds": seconds,
        "chosen": {"bits": bits, "share": share},
        "reported": report(found, bits, share),
        "in_use": {"bits": own[0], "share": own[1], **report(found, *own)},
    }
    print(json.dumps(line))


def copies(path: Where, folder: Path, seconds: float, changes: Mapping[str, Change]) -> dict[str, Prints]:
    """Return the hashes of a video's first seconds, and of its changed copies, each encoded anew."""
    want = FrameWant(RATE, 240)
    images: list[Bytes] = []
    for media in video.read(path, [Clip("", "", path, 0.0, seconds)], [want]):
        images += list(media.frames[want].images)
    found = {"original": prints.make(path, 0.0, seconds)}
    for name, change in changes.items():
        copy = folder / "copy.mp4"
        video.write(copy, (np.asarray(change(Image.fromarray(image))) for image in images), RATE)
        found[name] = prints.make(copy)
    return found


Measured = list[tuple[str, bool, NDArray[np.int32]]]


def measure(made: Sequence[Mapping[str, Prints]]) -> Measured:
    """Return (kind of change, whether it is a copy, distances of its frames to the original's) for all pairs."""
    originals = [one["original"].signs() for one in made]
    found = []
    for i, one in enumerate(made):
        for name, copy in one.items():
            signs = copy.signs()
            for j, original in enumerate(originals):
                if name != "original" or i != j:
                    found.append((name, i == j, ((prints.BITS - signs @ original.T) / 2).astype(np.int32)))
    return found


def matched(distances: NDArray[np.int32], bits: int, share: float) -> bool:
    """Tell whether a pair is taken for a copy, as `prints.Known` does."""
    near = distances <= bits
    return bool(near.size and max(near.any(axis=0).mean(), near.any(axis=1).mean()) >= share)


def choose(pairs: Measured) -> tuple[int, float]:
    """Return bits and share that find most without a false match: of those that are equal, the middle."""
    scores = {}
    for bits in BITS:
        for share in SHARES:
            found = [(copy, matched(distances, bits, share)) for name, copy, distances in pairs if name not in NOT_CHOSEN_BY]
            if not any(hit for copy, hit in found if not copy):
                scores[bits, share] = sum(hit for copy, hit in found if copy)
    best = sorted(key for key, value in scores.items() if value == max(scores.values()))
    return best[len(best) // 2]


def report(pairs: Measured, bits: int, share: float) -> dict[str, object]:
    """Return recall by kind of change, and false matches."""
    found = [(name, copy, matched(distances, bits, share)) for name, copy, distances in pairs]
    kinds = sorted({name for name, copy, _ in found if copy})
    others = [hit for _, copy, hit in found if not copy]
    recall = {kind: round(float(np.mean([hit for name, copy, hit in found if copy and name == kind])), 3) for kind in kinds}
    return {"recall": recall, "false_matches": sum(others), "of_pairs": len(others)}


if __name__ == "__main__":
    clips = Path(__file__).parents[2] / "shared" / "data" / "clips"
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", nargs="*", default=[str(clips)] if clips.is_dir() else [])
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    main([] if given.tiny else given.folders, given.seconds, given.tiny)
