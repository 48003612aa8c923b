"""A folder of videos and a csv: what people write into it, and what they get wrong."""

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hit import datasets
from hit.config import ExpertConfig
from hit.errors import UserError
from hit.types import Clip


def _folder(root: Path, table: str | bytes, *videos: str) -> Path:
    for video in videos:
        path = root / video
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"a video")
    (root / "captions.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    return root


def test_captions_splits_and_clips(tmp_path: Path) -> None:
    table = 'caption,colour,video,split\n"a red, ""round"" ball",red,a.mp4,train\na ball,,a.mp4,\nzwei Bälle,,sub/b.webm,test\n'
    root = _folder(tmp_path, table, "videos/a.mp4", "videos/sub/b.webm")
    data = datasets.read(root)
    assert data.captions == {"a": ('a red, "round" ball', "a ball"), "sub/b": ("zwei Bälle",)}
    assert data.splits == {"a": "train", "sub/b": "test"}
    assert data.clips["sub/b"].path == root / "videos/sub/b.webm"
    assert data.clips["sub/b"].video == "sub/b.webm"
    assert [clip.id for clip in data.split("test")] == ["sub/b"]
    assert data.split("val") == []


def test_byte_order_mark_windows_lines_and_capital_headers(tmp_path: Path) -> None:
    root = _folder(tmp_path, "\ufeffVideo, Caption\r\na.mp4,a ball\r\n\r\n".encode(), "a.mp4")
    assert datasets.read(root).captions == {"a": ("a ball",)}


def test_suffix_may_be_left_out_and_both_folders_mean_one_clip(tmp_path: Path) -> None:
    root = _folder(
        tmp_path, "video,caption\na,one\na.mp4,two\nvideos/a.mp4,three\nvideos/a,four\nv1.2,five\n", "videos/a.mp4", "v1.2.mkv"
    )
    data = datasets.read(root)
    assert data.captions == {"a": ("one", "two", "three", "four"), "v1.2": ("five",)}


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ("video,caption\na.mp4,a ball\na.mp4,\n", r"line 3: the caption is empty"),
        ("video,caption\na.mp4\n", r"line 2: the caption is empty"),
        ("file,text\na.mp4,a ball\n", r"columns are 'file,text'.*video,caption"),
        ("", r"the first line must name"),
        ("video,caption\n", r"holds no captions"),
        (
            "video,caption\nno1,x\nno2,x\nno3,x\nno4,x\nno1,y\n",
            r"'no1' \(line 2\), 'no2' \(line 3\), 'no3' \(line 4\) and 1 more",
        ),
        ("video,caption\n../secret.mp4,x\n", r"line 2: '../secret.mp4' is not a path inside"),
        ("video,caption\n/etc/passwd,x\n", r"not a path inside"),
        ("video,caption\n,x\n", r"not a path inside"),
        ("video,caption\nb,x\n", r"'b' may be any of b.mkv, b.mp4.*suffix"),
        ("video,caption\nb.mkv,x\nb.mp4,y\n", r"line 3: 'b.mp4' and 'b.mkv' differ only in their suffix"),
        ("video,caption\np.JPG,x\n", r"'p.JPG' is an image"),
        ("video,caption,split\na.mp4,x,train\na.mp4,y,test\n", r"line 3: 'a.mp4' is in split 'train'.*'test' here"),
        ('video,caption\na.mp4,"x\n', r"line 2: not a csv line"),
        (b"video,caption\na.mp4,B\xe4lle\n", r"not UTF-8"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, table: str | bytes, complaint: str) -> None:
    root = _folder(tmp_path / "data", table, "a.mp4", "b.mp4", "b.mkv", "p.JPG", "../secret.mp4")
    with pytest.raises(UserError, match=complaint):
        datasets.read(root)


def test_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no such file.*captions.csv"):
        datasets.read(tmp_path / "nowhere")


def test_without_a_split_column_the_hash_decides(tmp_path: Path) -> None:
    names = [f"v{number}.mp4" for number in range(600)]
    lines = "".join(f"{name},x\n" for name in names)
    data = datasets.read(_folder(tmp_path, f"video,caption\n{lines}", *names))
    shares = {split: len(data.split(split)) / 600 for split in ("train", "val", "test")}
    assert sum(shares.values()) == 1
    assert shares["val"] == pytest.approx(0.1, abs=0.04)
    assert shares["test"] == pytest.approx(0.1, abs=0.04)
    fewer = datasets.read(_folder(tmp_path, f"video,caption\n{''.join(f'{name},x' + chr(10) for name in names[::-7])}"))
    assert all(data.splits[clip] == split for clip, split in fewer.splits.items())


def test_a_split_column_with_gaps_means_train(tmp_path: Path) -> None:
    root = _folder(tmp_path, "video,caption,split\na,x,\nb,x,test\n", "a.mp4", "b.mp4")
    assert datasets.read(root).splits == {"a": "train", "b": "test"}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=("Cs", "Cc"))).map(str.strip).filter(bool), min_size=1))
def test_any_caption_survives(tmp_path_factory: pytest.TempPathFactory, captions: list[str]) -> None:
    root = _folder(tmp_path_factory.mktemp("data"), "", "a.mp4")
    with (root / "captions.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["video", "caption"], *(["a.mp4", caption] for caption in captions)])
    assert datasets.read(root).captions["a"] == tuple(captions)


def _clips(root: Path, clips: str, captions: str, *videos: str) -> Path:
    _folder(root, captions, *videos)
    (root / "clips.csv").write_text(clips)
    return root


def test_clips_are_stretches_of_videos_that_may_be_absent(tmp_path: Path) -> None:
    clips = "id,video,start,end,note\nunused,a.mp4,0,1,\none,a.mp4,1.5,4,\ntwo,a,4,,\nthree,gone.avi,,2.5,\nfour,,,,\n"
    captions = "caption,clip,split\nx,four,test\ny,two,train\nz,one,train\nw,three,train\nv,two,\n"
    data = datasets.read(_clips(tmp_path, clips, captions, "videos/a.mp4"))
    home = tmp_path / "videos"
    assert list(data.clips.values()) == [
        Clip("four", "", home),
        Clip("two", "a.mp4", home / "a.mp4", 4.0),
        Clip("one", "a.mp4", home / "a.mp4", 1.5, 4.0),
        Clip("three", "gone.avi", home / "gone.avi", 0.0, 2.5),
    ]
    assert data.captions["two"] == ("y", "v")
    assert data.splits == {"four": "test", "two": "train", "one": "train", "three": "train"}


def test_captions_may_name_clips_in_the_column_video(tmp_path: Path) -> None:
    lines = [f"v{number}.mp4" for number in range(100)]
    clips = "id,video,start,end\n" + "".join(f"{name},,,\n" for name in lines)
    data = datasets.read(_clips(tmp_path, clips, "video,caption\n" + "".join(f"{name},x\n" for name in lines)))
    assert set(data.clips) == set(lines)  # an id is not a path: it keeps its suffix
    assert 0 < len(data.split("val")) < 30


@pytest.mark.parametrize(
    ("clips", "captions", "complaint"),
    [
        ("id,video\na,\n", "clip,caption\na,x\n", r"clips.csv: its columns are 'id,video'.*id,video,start,end"),
        ("id,video,start,end\n,a.mp4,,\n", "clip,caption\na,x\n", r"clips.csv, line 2: the id is empty"),
        ("id,video,start,end\na,,,\na,,,\n", "clip,caption\na,x\n", r"clips.csv, line 3: the id 'a' has a line already"),
        ("id,video,start,end\na,,1:30,\n", "clip,caption\na,x\n", r"line 2: '1:30' and '' are not both times"),
        ("id,video,start,end\na,,5,4\n", "clip,caption\na,x\n", r"line 2: a clip cannot begin at 5 and end at 4"),
        ("id,video,start,end\na,,-1,4\n", "clip,caption\na,x\n", r"cannot begin at -1"),
        ("id,video,start,end\na,,inf,\n", "clip,caption\na,x\n", r"cannot begin at inf and end at its end"),
        ("id,video,start,end\na,,0,nan\n", "clip,caption\na,x\n", r"cannot begin at 0 and end at nan"),
        ("id,video,start,end\na,../a.mp4,,\n", "clip,caption\na,x\n", r"clips.csv, line 2: '../a.mp4' is not a path inside"),
        ("id,video,start,end\na,a.jpg,,\n", "clip,caption\na,x\n", r"clips.csv, line 2: 'a.jpg' is an image"),
        ("id,video,start,end\na,,,\n", "clip,caption\nb,x\n", r"captions.csv: clips.csv does not list 'b' \(line 2\)"),
        ("id,video,start,end\na,,,\n", "clip,caption\na,\n", r"captions.csv, line 2: the caption is empty"),
        ("id,video,start,end\na,,,\n", "file,caption\na,x\n", r"captions.csv: its columns are 'file,caption'.*clip,caption"),
        ("id,video,start,end\na,,,\n", "clip,caption\n", r"captions.csv: holds no captions"),
    ],
)
def test_what_is_wrong_with_clips_is_said_with_its_line(tmp_path: Path, clips: str, captions: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        datasets.read(_clips(tmp_path, clips, captions))


def test_experts_of_the_features_that_came_with_it(tmp_path: Path) -> None:
    root = _folder(tmp_path, "video,caption\na.mp4,a ball\n", "a.mp4")
    assert datasets.read(root).experts == {}
    (root / "experts.toml").write_text('[experts.faces]\nkind = "given"\noptions = { dim = 3, source = "x" }\n')
    assert datasets.read(root).experts == {"faces": ExpertConfig("given", {"dim": 3, "source": "x"})}
    for text, complaint in {
        "[experts": r"experts.toml: not a TOML file",
        "[experts.faces]\nkinds = 1\n": r"experts.toml: experts.faces: unknown key 'kinds' \(did you mean 'kind'\?\)",
    }.items():
        (root / "experts.toml").write_text(text)
        with pytest.raises(UserError, match=complaint):
            datasets.read(root)
