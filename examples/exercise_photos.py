"""Train HiT on real photographs: each exercise's two poses become a short video, found by its instructions and the reverse.

    python examples/exercise_photos.py OUT [--photos DIR] [--model-folder DIR] [--seeds N] [--json] [KEY=VALUE ...]

DIR holds exercises.json, a list of {"id", "name", "instructions": [...]}, and photos/ID_0.jpg and photos/ID_1.jpg, how each
begins and ends. OUT gets data/ (videos, captions, features), hit/ and linear/ (models, tables, pages). A second run does only
what is missing. What is not said here is said in examples/README.md.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from hit import config, console, datasets, extract, metrics, video
from hit.ablate import cell
from hit.datasets import table
from hit.errors import UserError
from hit.files import write_whole
from hit.reproduce import Order, reproduce, table_lines
from hit.types import Bytes, Progress

RECIPE = Path(__file__).with_suffix(".toml")
SHARED = Path(__file__).resolve().parents[2] / "shared"
RATE = 10.0  # pictures a second
STILL, FADE = 15, 5  # pictures of the first pose, then of the cross-fade: the second pose stands from 2 s to 4 s
LENGTH = 40
HELD_OUT = 6  # one exercise in so many is for testing: 40 of 240
FIGURES = ("R1", "R5", "R10", "MdR")


def example(
    out: Path, photos: Path, model: Path, seeds: Sequence[int], overrides: Sequence[str], progress: Progress
) -> dict[str, Any]:
    """Encode, extract, train and measure; return what `hit reproduce` says of HiT and of the linear baseline, and chance.

    Raises UserError where the photos or the model are not there, and as these verbs do.
    """
    if not model.is_dir():
        raise UserError(model, "there is no such folder", "give a vision model, as transformers saves it, by --model-folder")
    settings = [f"experts.appearance.options.path={json.dumps(str(model.resolve()))}", *overrides]
    recipe = config.load(RECIPE, settings)
    data = out / "data"
    encode(photos, data, progress)
    report = extract.extract(datasets.read(data), recipe.experts, progress=progress)
    if report.failed:
        clip, why = report.failed[0]
        raise UserError(data / "videos" / f"{clip}.mp4", why, "remove it and run the example again")
    runs = {
        name: reproduce(Order(str(RECIPE), out / name, data, seeds, baseline, overrides=settings), progress)
        for name, baseline in (("hit", ""), ("linear", "linear"))
    }
    count = runs["hit"]["videos"]
    return {**runs, "chance": metrics.summary(np.zeros(1, np.int64), np.array([count - 1]))}  # as where all scores tie


def encode(photos: Path, data: Path, progress: Progress) -> None:
    """Write the data set to `data`: a video of 4 s an exercise, its name and instructions as the one caption, and the split.

    Videos that are there already are kept. Raises UserError where photos are missing or damaged, and where `data` holds
    something else.
    """
    exercises = _read(photos)
    held = sorted(exercises, key=_draw)[: len(exercises) // HELD_OUT]
    rows = [(f"{name}.mp4", text, "test" if name in held else "train") for name, text in exercises.items()]
    content, path = table.to_bytes(("video", "caption", "split"), rows), data / "captions.csv"
    if (path.read_bytes() != content) if path.exists() else data.exists() and any(data.iterdir()):
        raise UserError(data, "holds other data", "name another folder or remove this one")
    (data / "videos").mkdir(parents=True, exist_ok=True)
    write_whole(path, content)
    with progress.task("Encoding videos", len(exercises)) as task:
        for name in exercises:
            if not (target := data / "videos" / f"{name}.mp4").exists():
                video.write(target, _pictures(*(_photo(photos / "photos" / f"{name}_{i}.jpg") for i in (0, 1))), RATE)
            task.advance()


def _read(photos: Path) -> dict[str, str]:
    """Return the text of each exercise, its name and its instructions."""
    path = photos / "exercises.json"
    fix = "give the folder with exercises.json and photos/ by --photos"
    try:
        return {_named(one["id"]): " ".join([f"{one['name']}.", *one["instructions"]]) for one in json.loads(path.read_text())}
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(path, "there is no such file", fix) from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(path, f"is no list of exercises: {type(error).__name__}: {error}", fix) from None


def _named(name: str) -> str:
    if Path(name).name != name:
        raise ValueError(f"the id '{name}' is no file name")
    return name


def _draw(name: str) -> str:
    """Return the lot of an exercise: those with the lowest are held out. It depends on its id alone."""
    return hashlib.sha256(f"exercise_photos {name}".encode()).hexdigest()


def _photo(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except OSError as error:
        raise UserError(path, f"cannot be read: {error.strerror or 'it is no picture'}", "fetch the photos again") from None


def _pictures(begins: Image.Image, ends: Image.Image) -> Iterator[Bytes]:
    """Yield the pictures of a video (height, width, 3): no whole second lies in the cross-fade, so experts see poses."""
    second = ImageOps.pad(ends, begins.size)
    for i in range(LENGTH):
        yield np.asarray(Image.blend(begins, second, min(1.0, max(0.0, (i - STILL + 1) / (FADE + 1)))))


def show(result: Mapping[str, Any]) -> None:
    """Print a table for each direction: HiT by level and fused, the baseline, chance."""
    chance = ["chance", *(cell({"mean": result["chance"][name], "std": None}) for name in FIGURES)]
    first = result["hit"]
    for way, words in metrics.WAYS.items():
        lines = [line for line in table_lines(first, way) if line.kind != "post"]
        lines += [line for line in table_lines(result["linear"], way) if line.kind == "fused"]  # its one level
        rows = [[line.name, *(" ".join(line.cells[name]).strip() for name in FIGURES)] for line in lines]
        console.table(f"{words}, {first['videos']} exercises that were never seen", ["method", *FIGURES], [*rows, chance])
    console.say(f"mean ± deviation over {len(first['runs'])} seeds, [95 % bootstrap interval of the mean over exercises]")


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line, of these words or of the process; return the exit code."""
    parser = argparse.ArgumentParser(description="Train HiT on the photographs of exercises, and measure it on others.")
    parser.add_argument("out", type=Path, metavar="OUT", help="where data and models go; a second run goes on there")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="changes to the recipe, such as train.steps=100")
    parser.add_argument("--photos", type=Path, default=SHARED / "data" / "exercise_photos", help="the folder of exercises.json")
    parser.add_argument("--model-folder", type=Path, default=SHARED / "models" / "mobilenet_v2", help="the vision model")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, from 0")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line of stdout")
    given = parser.parse_intermixed_args(words)  # intermixed: overrides may also stand after options
    try:
        if given.seeds < 1:
            raise UserError("--seeds", f"{given.seeds} is less than 1")
        result = example(given.out, given.photos, given.model_folder, range(given.seeds), given.overrides, console.Bars())
    except UserError as error:
        print(f"exercise_photos: {console.printable(error)}", file=sys.stderr)
        return error.code
    if given.json:
        print(json.dumps(result, default=str))
    else:
        show(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
