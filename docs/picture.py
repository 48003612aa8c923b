"""Draw README's picture, what a library answers to some queries: python docs/picture.py LIB OUT.png."""

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from hit.console import seconds
from hit.demo import QUERIES
from hit.library import Library

COLUMNS, WIDTH, HEIGHT, GAP, LINE = 5, 200, 150, 10, 22


def main(library: Path, out: Path) -> None:
    """Write one row of the best hits' thumbnails under each query."""
    row = HEIGHT + 2 * LINE + 2 * GAP
    sheet = Image.new("RGB", (COLUMNS * (WIDTH + GAP) + GAP, len(QUERIES) * row + GAP), "white")
    draw, font, small = ImageDraw.Draw(sheet), ImageFont.load_default(17), ImageFont.load_default(13)
    with Library.open(library) as shelf:
        for i, query in enumerate(QUERIES):
            draw.text((GAP, i * row + GAP), f"› {query}", "black", font)
            for j, hit in enumerate(shelf.search(query, limit=COLUMNS).hits):
                left, top = GAP + j * (WIDTH + GAP), i * row + GAP + LINE + 4
                assert isinstance(hit.thumbnail, Path)
                with Image.open(hit.thumbnail) as thumbnail:
                    sheet.paste(thumbnail.resize((WIDTH, HEIGHT)), (left, top))
                label = f"{hit.clip.path.name}  {seconds(hit.clip.start)}-{seconds(hit.clip.end)}  {hit.score:.2f}"
                draw.text((left, top + HEIGHT + 3), label, "dimgrey", small)
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
