"""Hashes of frames, and the bank: copies are known again, others are not, and what is known outlives its video."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from hit import moderation, video
from hit.errors import NotFoundError, UserError
from hit.library import Library
from hit.moderation import bank, lifecycle, prints
from hit.moderation.prints import BITS, KIND, Known, Prints
from hit.upkeep import remove
from toy import PLUGIN, ToyEncoder

RATE = 4.0


def scene(seed: int, count: int = 24, size: tuple[int, int] = (96, 128)) -> list[Any]:
    """Return pictures of a scene of its own that moves: smooth ground with some shapes over it."""
    draw = np.random.default_rng(seed)
    ground = Image.fromarray(draw.integers(0, 256, (5, 6, 3), np.uint8)).resize((size[1] * 2, size[0]), Image.Resampling.BICUBIC)
    wide = np.asarray(ground).copy()
    for _ in range(6):
        y, x = draw.integers(0, size[0] - 20), draw.integers(0, size[1] * 2 - 20)
        wide[y : y + 20, x : x + 20] = draw.integers(0, 256, 3)
    return [wide[:, 2 * i : 2 * i + size[1]] for i in range(count)]


def changed(images: list[Any], change: Any) -> list[Any]:
    return [np.asarray(change(Image.fromarray(image))) for image in images]


def boxed(image: Image.Image) -> Image.Image:
    whole = Image.new("RGB", (image.width, image.height + 48))
    whole.paste(image, (0, 24))
    return whole


def hashed(images: list[Any]) -> Prints:
    return prints.of_frames(images[:: int(RATE)], [float(i) for i in range(len(images[:: int(RATE)]))])


CHANGES = {
    "resized": lambda image: image.resize((70, 60)),
    "letterboxed": boxed,
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.6),
    "poorly encoded": lambda image: image.resize((64, 48)).resize((128, 96)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_copy_is_known_and_another_scene_is_not(name: str) -> None:
    known = Known({7: hashed(scene(1)), 8: hashed(scene(2))})
    (found,) = known.find(hashed(changed(scene(1), CHANGES[name])), bank.NEAR, bank.SHARE)
    assert found.entry == 7 and found.share == 1.0 and found.distance <= bank.NEAR
    assert [frame["time"] for frame in found.frames] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert known.find(hashed(changed(scene(3), CHANGES[name])), bank.NEAR, bank.SHARE) == []


@given(st.integers(0, 2**32), st.integers(1, 9), st.lists(st.integers(1, 9), max_size=4), st.integers(90, 130), st.floats(0.1, 1))
def test_matches_are_those_of_a_slow_search(seed: int, own: int, sizes: list[int], bits: int, share: float) -> None:
    draw = np.random.default_rng(seed)

    def some(count: int) -> Prints:
        return Prints(np.arange(count, dtype=np.float32), draw.integers(0, 256, (count, BITS // 8), np.uint8))

    film, clips = some(own), {number: some(size) for number, size in enumerate(sizes)}
    expected = {}
    for number, clip in clips.items():
        apart = [[int(np.unpackbits(a ^ b).sum()) for b in clip.hashes] for a in film.hashes]
        near = np.array(apart) <= bits
        likeness = max(near.any(axis=0).mean(), near.any(axis=1).mean())
        if near.any() and likeness >= share:
            rows = [i for i in range(own) if min(apart[i]) <= bits]
            expected[number] = (likeness, [(float(i), min(apart[i])) for i in rows])
    found = Known(clips).find(film, bits, share)
    assert {one.entry: (one.share, [(f["time"], f["distance"]) for f in one.frames]) for one in found} == expected
    assert [one.share for one in found] == sorted((one.share for one in found), reverse=True)


def test_frames_without_detail_have_no_hash_and_all_goes_through_bytes() -> None:
    grey = [np.full((96, 128, 3), value, np.uint8) for value in (0, 128, 255)]
    made = prints.of_frames([*grey, scene(1)[0]], [0.0, 1.0, 2.0, 3.0])
    assert made.times.tolist() == [3.0]
    again = Prints.unpack(made.pack())
    assert np.array_equal(again.hashes, made.hashes) and again.times.tolist() == [3.0]
    assert len(prints.of_frames([], []).pack()) == 0 and len(Prints.unpack(b"").times) == 0
    assert made.within(0, 3).times.tolist() == [] and made.within(3, 4).times.tolist() == [3.0]


def test_a_dark_scene_is_not_cut_away() -> None:
    dark = changed(scene(1), lambda image: ImageEnhance.Brightness(image).enhance(0.08))
    rows, columns = prints._shown([np.asarray(Image.fromarray(image).convert("L")) for image in dark])
    assert rows.stop - rows.start >= 48 and columns.stop - columns.start >= 64


# -- the bank


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a film, a copy of it that is smaller, a longer film with it in the middle, and another one."""
    folder = tmp_path_factory.mktemp("films")
    video.write(folder / "bad.mp4", iter(scene(1)), RATE)
    video.write(folder / "copy.mp4", iter(changed(scene(1), CHANGES["resized"])), RATE)
    video.write(folder / "longer.mp4", iter([*scene(4), *scene(1), *scene(5)]), RATE)
    video.write(folder / "other.mp4", iter(scene(2)), RATE)
    return folder


@pytest.fixture(scope="module")
def filmed(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("filmed") / "lib"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLUGIN))
        with Library.create(folder, encoder=ToyEncoder()) as library:
            library.index([films], workers=1)
    return folder


@pytest.fixture
def library(filmed: Path, tmp_path: Path) -> Iterator[Library]:
    with Library.open(shutil.copytree(filmed, tmp_path / "lib"), encoder=ToyEncoder()) as opened:
        yield opened


def ids(library: Library) -> dict[str, str]:
    return {card.title: card.video.id for card in library.db.videos()[0]}


def test_a_known_clip_is_blocked_wherever_it_is_and_outlives_its_video(library: Library, films: Path) -> None:
    policy = {"texts": ["grey"], "review": {"score": 100}, "block": {"score": 200}, "bank": True}
    lifecycle.draft(library, "known", policy, "ann")
    lifecycle.enter(library, "known", "enforced", "ann")
    lifecycle.draft(library, "asks", {**policy, "block": None}, "ann")
    lifecycle.enter(library, "asks", "shadow", "ann")
    moderation.judge(library)
    named = ids(library)
    assert set(library.db.said("known", 1).values()) == {"pass"}
    assert library.db.prints(named.values(), KIND) == {}  # nothing is hashed for a bank that is empty
    made = bank.add(library, named["bad.mp4"], "the leak", "ann")
    assert made.title == "bad.mp4" and bank.to_json(made)["frames"] == 6
    moderation.judge(library)
    titles = {key: title for title, key in named.items()}
    said = {titles[key]: verdict for key, verdict in library.db.said("known", 1).items()}
    assert said == {"bad.mp4": "block", "copy.mp4": "block", "longer.mp4": "block", "other.mp4": "pass"}
    assert library.db.said("asks", 1)[named["copy.mp4"]] == "review"
    longer = library.db.verdicts_of("known", 1, [named["longer.mp4"]])[named["longer.mp4"]]
    (match,) = longer.matches
    assert (match["bank_id"], match["note"], match["share"]) == (made.id, "the leak", 1.0)
    assert all(abs(frame["time"] - 6 - frame["bank_time"]) < 1.5 for frame in match["frames"])
    assert longer.evidence  # somewhere to look
    remove.remove(library, [str(films / "bad.mp4")])
    assert [one.title for one in library.db.bank()] == ["bad.mp4"]
    assert moderation.judge(library)["policies"][1]["changed"] == 0
    library.db.unban(made.id)
    moderation.judge(library)
    assert set(library.db.said("known", 1).values()) == {"pass"}
    with pytest.raises(NotFoundError):
        library.db.unban(made.id)


def test_the_same_bytes_are_known_without_a_look_at_any_frame(library: Library) -> None:
    named = ids(library)
    bank.add(library, named["other.mp4"], "", "ann")
    known = bank.open_bank(library)
    key = named["other.mp4"]
    (row,) = known.matches(library, library.db.hashes([key]), decode=False)[key]
    assert (row["share"], row["distance"], row["frames"]) == (1.0, 0.0, [])
    assert library.db.prints([key], KIND) == {}


def test_what_cannot_be_added_is_told(library: Library, films: Path) -> None:
    named = ids(library)
    with pytest.raises(NotFoundError):
        bank.add(library, "nothing", "", "ann")
    with pytest.raises(UserError, match="ends before it begins"):
        bank.add(library, named["bad.mp4"], "", "ann", 3.0, 2.0)
    with pytest.raises(UserError, match="nothing in this stretch"):
        bank.add(library, named["bad.mp4"], "", "ann", 100.0, 200.0)
    with pytest.raises(NotFoundError):
        bank.matches_of(library, "nothing")


def test_a_video_whose_file_is_away_is_passed_over_and_named(library: Library, films: Path, tmp_path: Path) -> None:
    named = ids(library)
    bank.add(library, named["bad.mp4"], "", "ann")
    (films / "copy.mp4").rename(tmp_path / "away.mp4")
    try:
        known = bank.open_bank(library)
        found = known.matches(library, library.db.hashes(named.values()))
    finally:
        (tmp_path / "away.mp4").rename(films / "copy.mp4")
    assert known.missed == [named["copy.mp4"]] and set(found) == {named["bad.mp4"], named["longer.mp4"]}
