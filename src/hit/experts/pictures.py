"""How pictures are brought to the form that a network wants, as its preprocessing table says: PIL and numpy, no torchvision."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hit.errors import UserError
from hit.hub import read_table
from hit.types import Bytes, Floats

# Where transformers keeps the table, by what it is for: the file, and the part of it in files that hold several.
PLACES = {
    "image": (("preprocessor_config.json", ""), ("processor_config.json", "image_processor")),
    "video": (
        ("video_preprocessor_config.json", ""),
        ("preprocessor_config.json", ""),
        ("processor_config.json", "video_processor"),
        ("processor_config.json", "image_processor"),
    ),
}
LARGEST = 4096  # pixels; a table that asks for more is a slip, or means harm


def read(folder: Path, kind: str) -> tuple[Path, dict[str, Any]]:
    """Return the preprocessing table of an "image" or a "video" model and its file. Raises UserError where there is none."""
    for file, part in PLACES[kind]:
        path = folder / file
        if not path.is_file():
            continue
        table = read_table(path)
        if not part:
            return path, table
        if isinstance(table.get(part), dict):
            return path, table[part]
    raise UserError(folder, f"has no {PLACES[kind][0][0]}", f"name {_article(kind)} model, saved with its processor")


def _article(kind: str) -> str:
    return "a vision" if kind == "image" else f"a {kind}"


def check(file: Path, table: dict[str, Any]) -> None:
    """Raise UserError for a table that `prepare` cannot follow, naming what it does not say or says wrongly."""
    if lacking := {"size", "resample", "image_mean", "image_std"} - set(table):
        raise UserError(file, f"does not say {', '.join(sorted(lacking))}", "save it with all settings")
    sizes = [table["size"], *([table.get("crop_size")] if table.get("do_center_crop") else [])]
    right = {
        "size and crop_size": all(_is_size(size) for size in sizes),
        "resample": table["resample"] in list(Image.Resampling),
        "image_mean": _is_colour(table["image_mean"]),
        "image_std": _is_colour(table["image_std"]) and min(table["image_std"]) > 0,
        "rescale_factor": isinstance(table.get("rescale_factor", 1.0), int | float),
    }
    if wrong := [name for name, is_right in right.items() if not is_right]:
        raise UserError(file, f"says of {wrong[0]} what is no such thing", "fetch the model again")


def _is_size(size: Any) -> bool:
    numbers = list(size.values()) if isinstance(size, dict) else [size]
    keys = set(size) if isinstance(size, dict) else {"height", "width"}
    fits = all(type(number) is int and 1 <= number <= LARGEST for number in numbers)
    return fits and ("shortest_edge" in keys or {"height", "width"} <= keys)


def _is_colour(numbers: Any) -> bool:
    return isinstance(numbers, list) and len(numbers) == 3 and all(isinstance(number, int | float) for number in numbers)


def prepare(table: dict[str, Any], images: Sequence[Bytes]) -> Floats:
    """Resize, crop and normalise images (height, width, 3) as a table says: (n, 3, height, width)."""
    rows = []
    for image in images:
        picture = Image.fromarray(image)
        if table.get("do_resize", True):
            picture = picture.resize(_size(table, picture.size), Image.Resampling(table["resample"]))
        if table.get("do_center_crop", False):
            height, width = _pair(table["crop_size"])
            left, top = (picture.width - width) // 2, (picture.height - height) // 2
            picture = picture.crop((left, top, left + width, top + height))
        pixels = np.asarray(picture, np.float32)
        if table.get("do_rescale", True):
            pixels = pixels * np.float32(table.get("rescale_factor", 1 / 255))
        if table.get("offset", False):  # ViViT's: from [0, 2] to [-1, 1]
            pixels = pixels - 1
        if table.get("do_normalize", True):
            pixels = (pixels - np.float32(table["image_mean"])) / np.float32(table["image_std"])
        rows.append(pixels.transpose(2, 0, 1))
    return np.stack(rows).astype(np.float32)


def _size(table: dict[str, Any], size: tuple[int, int]) -> tuple[int, int]:
    """Return the (width, height) to resize a picture of `size` to."""
    wanted = table["size"]
    if isinstance(wanted, dict) and "shortest_edge" in wanted:
        scale = wanted["shortest_edge"] / min(size)
        return max(1, int(size[0] * scale)), max(1, int(size[1] * scale))
    height, width = _pair(wanted)
    return width, height


def _pair(size: Any) -> tuple[int, int]:
    """Return (height, width)."""
    return (size["height"], size["width"]) if isinstance(size, dict) else (size, size)


def side(table: dict[str, Any]) -> int:
    """Return the shorter side that frames are decoded at: what `prepare` would bring them to."""
    size = table["size"]
    if isinstance(size, dict):
        return int(size.get("shortest_edge", max(size.values())))
    return int(size)
