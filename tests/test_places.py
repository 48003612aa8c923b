"""Places: files known by NAME:PATH, found on every machine that names the same roots, wherever these lie; no name leads out."""

import os
import pickle
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hit import places
from hit.errors import UserError
from hit.places import Places
from hit.types import Far

names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=30).filter(
    lambda name: name not in (".", "..")
)
reuse = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def roots(tmp_path: Path) -> Places:
    named = {
        "videos": str(tmp_path / "a"),
        "deep": str(tmp_path / "a" / "deep"),
        "clips": "s3://bucket/clips/",
        "all": "s3://bucket",
    }
    return Places(named, tmp_path / "lib")


# -- names


@reuse
@given(steps=st.lists(names, min_size=1, max_size=4))
def test_a_name_and_a_place_stand_for_each_other(tmp_path: Path, steps: list[str]) -> None:
    here = roots(tmp_path)
    path = tmp_path.joinpath("a", *steps)
    name = here.name_of(path)
    assert name.startswith("videos:" if steps[0] != "deep" else "deep:") and here.locate(name) == path
    assert places.basename(name) == path.name or (path == tmp_path / "a" / "deep" and name == "deep:")
    far = Far("/".join(("s3://bucket/clips", *steps)))
    assert here.name_of(far) == f"clips:{'/'.join(steps)}" and here.locate(here.name_of(far)) == far
    assert pickle.loads(pickle.dumps(here)).locate(name) == path


def test_the_deepest_root_names_a_file(tmp_path: Path) -> None:
    here = roots(tmp_path)
    assert here.name_of(tmp_path / "a" / "deep" / "x.mp4") == "deep:x.mp4"
    assert here.name_of(tmp_path / "a" / "deeper" / "x.mp4") == "videos:deeper/x.mp4"
    assert here.name_of("s3://bucket/clipsy/x.mp4") == "all:clipsy/x.mp4"
    assert here.name_of("s3://other/x.mp4") == "s3://other/x.mp4"
    assert here.name_of(tmp_path / "lib" / "uploads" / "x.mp4") == "library:uploads/x.mp4"
    assert (here.name_of(tmp_path / "a"), here.name_of("s3://bucket/clips")) == ("videos:", "clips:")
    assert (here.given("videos:"), here.given("clips:")) == (tmp_path / "a", Far("s3://bucket/clips"))


def test_without_roots_paths_are_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = Places({}, Path("lib"))
    assert here.name_of("v/../a b:c.mp4") == str(tmp_path / "a b:c.mp4")
    assert here.locate(str(tmp_path / "a b:c.mp4")) == tmp_path / "a b:c.mp4"
    assert (
        here.name_of("lib/remote/x.mp4") == "library:remote/x.mp4"
        and here.locate("library:remote/x.mp4") == tmp_path / "lib/remote/x.mp4"
    )
    assert here.given("videos:x.mp4") == Path("videos:x.mp4")


def test_a_file_in_no_root_is_told_which_there_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is in none of the roots: videos = .*/a, deep = .*, clips = s3://bucket/clips/, all = "):
        roots(tmp_path).name_of(tmp_path / "b" / "x.mp4")


def test_two_machines_call_a_file_the_same(tmp_path: Path) -> None:
    (tmp_path / "data" / "b" / "cats").mkdir(parents=True)
    touch(tmp_path / "data" / "b" / "cats" / "1.mp4")
    (tmp_path / "mnt").mkdir()
    (tmp_path / "mnt" / "a").symlink_to(tmp_path / "data" / "b")  # the same folder, mounted elsewhere
    one, other = (
        Places({"videos": f"{tmp_path}/mnt/a"}, tmp_path / "lib"),
        Places({"videos": f"{tmp_path}/data/b"}, tmp_path / "lib"),
    )
    name = one.name_of(tmp_path / "mnt" / "a" / "cats" / "1.mp4")
    assert name == other.name_of(tmp_path / "data" / "b" / "cats" / "1.mp4") == "videos:cats/1.mp4"
    assert one.locate(name) == tmp_path / "mnt/a/cats/1.mp4" and other.locate(name) == tmp_path / "data/b/cats/1.mp4"
    assert one.name_of(tmp_path / "data" / "b" / "cats" / "1.mp4") == name  # by another way to it


# -- names that lead elsewhere


@pytest.mark.parametrize(
    "name",
    [
        "videos:../../etc/passwd",
        "videos:/etc/passwd",
        "videos:a/../../x",
        "videos:a//x",
        "videos:./x",
        "videos:a\0.mp4",
        "clips:../x",
        "clips:/x",
        "library:../x",
        "nowhere:x.mp4",
    ],
)
def test_hostile_names_are_refused_in_a_line(tmp_path: Path, name: str) -> None:
    here = roots(tmp_path)
    with pytest.raises(UserError) as caught:
        here.locate(name)
    assert str(caught.value).isprintable()
    assert not here.gone(name)  # and nothing that is known is forgotten for it
    assert str(here.seen(name)).isprintable()


def test_a_link_leads_out_of_no_root(tmp_path: Path) -> None:
    touch(tmp_path / "secret.mp4")
    touch(tmp_path / "a" / "x.mp4")
    (tmp_path / "a" / "out.mp4").symlink_to(tmp_path / "secret.mp4")
    (tmp_path / "a" / "in.mp4").symlink_to(tmp_path / "a" / "x.mp4")
    here = roots(tmp_path)
    assert (
        here.locate("videos:in.mp4") == tmp_path / "a" / "in.mp4" and here.name_of(tmp_path / "a" / "in.mp4") == "videos:in.mp4"
    )
    with pytest.raises(UserError, match="leads out of the root videos, by a link"):
        here.locate("videos:out.mp4")
    with pytest.raises(UserError, match="in none of the roots"):
        here.name_of(tmp_path / "a" / "out.mp4")


@reuse
@given(text=st.text(max_size=40))
def test_whatever_is_named_stays_inside(tmp_path: Path, text: str) -> None:
    here = roots(tmp_path)
    for root, top in (("videos", tmp_path / "a"), ("library", tmp_path / "lib")):
        try:
            found = here.locate(f"{root}:{text}")
        except UserError as error:
            assert "\n" not in str(error)
            continue
        assert isinstance(found, Path) and Path(os.path.normpath(found)).is_relative_to(top)


# -- what is there


def test_what_cannot_be_looked_at_is_not_gone(tmp_path: Path) -> None:
    here = roots(tmp_path)
    assert not here.gone("videos:x.mp4")  # the root is not mounted
    touch(tmp_path / "a" / "y.mp4")
    assert here.gone("videos:x.mp4") and not here.gone("videos:y.mp4")
    assert here.gone(str(tmp_path / "z.mp4"))  # of before there were roots


def test_what_users_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = roots(tmp_path)
    assert here.given("videos:x.mp4") == tmp_path / "a" / "x.mp4" and here.given("s3://bucket/x") == Far("s3://bucket/x")
    assert here.given("a/x.mp4") == Path("a/x.mp4") and here.given("no:x.mp4") == Path("no:x.mp4")
    assert here.names_of("a/x.mp4") == ("videos:x.mp4", str(tmp_path / "a" / "x.mp4"))
    assert here.names_of("b/x.mp4") == (str(tmp_path / "b" / "x.mp4"),)
