"""Recipes: every key and type is checked, errors name the nearest valid key, what is written is read back."""

import dataclasses
import math
import string
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hit import config
from hit.config import ExpertConfig, Recipe
from hit.errors import UserError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBERS = st.integers(-(2**60), 2**60)
FLOATS = st.floats(allow_nan=False)
OPTIONS: st.SearchStrategy[Any] = st.recursive(
    TEXT | NUMBERS | FLOATS | st.booleans(), lambda x: st.lists(x, max_size=3), max_leaves=4
)


def anything(kind: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for values of a config's type: fields are found by their hints, so that new ones are covered too."""
    if kind is ExpertConfig:
        return st.builds(ExpertConfig, kind=TEXT, options=st.dictionaries(TEXT, OPTIONS, max_size=3))
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return st.builds(kind, **{name: anything(hint) for name, hint in get_type_hints(kind).items()})
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return st.sampled_from(args)
    if origin is tuple:
        return st.tuples(*map(anything, args))
    if type(None) in args:
        return st.none() | anything(args[0])
    if origin is not None:  # the table of experts
        return st.dictionaries(TEXT, anything(args[1]), max_size=3)
    return {str: TEXT, int: NUMBERS, float: FLOATS, bool: st.booleans()}[kind]


def load(folder: Path, text: str, *overrides: str) -> Recipe:
    path = folder / "recipe.toml"
    path.write_text(text)
    return config.load(path, overrides)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(recipe=anything(Recipe))
def test_what_is_written_is_read_back(tmp_path: Path, recipe: Recipe) -> None:
    assert load(tmp_path, tomli_w.dumps(config.to_table(recipe))) == recipe


@settings(max_examples=100, deadline=None)
@given(steps=NUMBERS, lr=FLOATS, same=st.booleans(), pool=st.sampled_from(["mean", "max", "cls"]))
def test_overrides_say_the_same_as_the_file(
    tmp_path_factory: pytest.TempPathFactory, steps: int, lr: float, same: bool, pool: str
) -> None:
    folder = tmp_path_factory.getbasetemp()
    words = {"train.steps": steps, "train.lr": lr, "loss.mask_same_video": str(same).lower(), "model.video.feature_pool": pool}
    recipe = load(folder, 'name = "x"', *(f"{key}={value}" for key, value in words.items()))
    got = (recipe.train.steps, recipe.train.lr, recipe.loss.mask_same_video, recipe.model.video.feature_pool)
    assert got == (steps, lr, same, pool)


def test_an_empty_file_is_the_default_recipe(tmp_path: Path) -> None:
    assert load(tmp_path, "") == Recipe()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("nmae = 'x'", "unknown key 'nmae' (did you mean 'name'?)"),
        ("[train]\nstep = 3", "train: unknown key 'step' (did you mean 'steps'?)"),
        ("[model.video]\nwidht = 3", "model: video: unknown key 'widht' (did you mean 'width'?)"),
        ("[loss]\nzzz = 3", "loss: unknown key 'zzz' (valid keys: kind, temperature, "),
        ("[experts.sound]\noption = 1", "experts.sound: unknown key 'option' (did you mean 'options'?)"),
        ("[train]\nsteps = 'many'", "train: steps: expected int, got 'many'"),
        ("[train]\nsteps = true", "train: steps: expected int, got True"),
        ("[train]\nsteps = 1.5", "train: steps: expected int, got 1.5"),
        ("[loss]\nmask_same_video = 1", "loss: mask_same_video: expected bool, got 1"),
        ("train = 3", "train: expected a section, got 3"),
        ("experts = 3", "experts: expected "),
        ("[model.text]\nfeature_pool = 'best'", "model: text: feature_pool: 'best' is not one of 'mean', 'max', 'cls'"),
        ("[model]\nlevel_weights = [1.0]", "model: level_weights: expected 2 values, got 1"),
        ("[model]\nlevel_weights = [1.0, 'x']", "model: level_weights: expected float, got 'x'"),
        ("steps 3", "not a TOML file: "),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, text: str, line: str) -> None:
    with pytest.raises(UserError) as caught:
        load(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'recipe.toml'}: {line}")


@pytest.mark.parametrize(
    "override", ["steps", "=3", "name.steps=3", "train.stepz=3", "train.steps=many", "train=3", ".=3", "train.=3"]
)
def test_overrides_that_do_not_fit_are_refused(tmp_path: Path, override: str) -> None:
    with pytest.raises(UserError):
        load(tmp_path, 'name = "x"', override)


def test_override_may_be_any_toml_value(tmp_path: Path) -> None:
    recipe = load(
        tmp_path, "", "model.level_weights=[1, 0.5]", "experts.eye={kind = 'image-model', options = {source = 'x'}}", "name=a=b"
    )
    assert recipe.model.level_weights == (1.0, 0.5)
    assert recipe.experts == {"eye": ExpertConfig("image-model", {"source": "x"})}
    assert recipe.name == "a=b"


def test_whole_numbers_become_floats_but_not_back(tmp_path: Path) -> None:
    recipe = load(tmp_path, "[train]\nlr = 1\nclip_norm = inf")
    assert isinstance(recipe.train.lr, float)
    assert math.isinf(recipe.train.clip_norm)


@pytest.mark.parametrize("name", ["nowhere.toml", "."])
def test_a_missing_recipe_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError):
        config.load(tmp_path / name)


def test_a_data_sets_folder_of_a_recipes_name_hides_it_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = config.load("flickr8k")
    Path("flickr8k").mkdir()  # where `hit import` of docs/results.md puts it
    assert config.load("flickr8k") == shipped
    Path("mine").mkdir()
    with pytest.raises(UserError, match="mine: cannot be read: Is a directory"):
        config.load("mine")


def test_bytes_that_are_not_text(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_bytes(b"\xff\xfe" + string.printable.encode())
    with pytest.raises(UserError, match="not a TOML file"):
        config.load(tmp_path / "recipe.toml")
