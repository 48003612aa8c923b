"""Labels as people write them: nothing is lost between TOML, csv and JSON, and what is wrong is told in one line."""

import csv
import io
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hit.errors import UserError
from hit.tagging import labels
from hit.tagging.labels import Label, from_csv, from_tables, from_toml, to_csv, to_toml
from hit.tagging.thresholds import Rule

LETTERS = st.characters(exclude_categories=("Cc", "Cs", "Zs", "Zl", "Zp"))
WORDS = st.lists(st.text(LETTERS, min_size=1, max_size=6), min_size=1, max_size=3).map(" ".join)
NAMES = WORDS.filter(lambda name: name.isprintable() and "/" not in name)
RULES = st.one_of(
    st.builds(Rule, st.just("percentile"), st.floats(0, 100)),
    st.builds(Rule, st.just("precision"), st.floats(0, 1)),
    st.builds(Rule, st.just("score"), st.floats(-1e6, 1e6)),
)


@st.composite
def label(draw: st.DrawFn, name: str) -> Label:
    def some(least: int = 0) -> tuple[str, ...]:
        return tuple(draw(st.lists(WORDS, min_size=least, max_size=4, unique=True)))

    shown, against = some(), some()
    group = draw(st.just("") | WORDS)
    return Label(name, some(1), group, some(), shown, tuple(one for one in against if one not in shown), draw(RULES))


LABELS = st.lists(NAMES, min_size=1, max_size=4, unique=True).flatmap(lambda names: st.tuples(*map(label, names)).map(list))


@settings(max_examples=50, deadline=None)
@given(LABELS)
def test_nothing_is_lost_on_the_way(given: list[Label]) -> None:
    assert from_tables([one.to_table() for one in given]) == given
    assert from_toml(to_toml(given)) == given
    assert from_csv(to_csv(given)) == given
    assert from_csv(to_csv(from_toml(to_toml(given)))) == given


@settings(deadline=None)
@given(RULES)
def test_rules_are_read_as_they_are_written(rule: Rule) -> None:
    assert Rule.from_table(rule.to_table()) == rule == Rule.from_text(rule.to_text())


def test_a_short_csv_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "things.csv"
    path.write_bytes("\ufeffname,text,group\r\nred,something red,colour\r\nfast,it moves fast,\r\nred,a red thing,\r\n".encode())
    assert labels.read(path) == [Label("red", ("something red", "a red thing"), "colour"), Label("fast", ("it moves fast",))]
    path = path.with_suffix(".TOML")
    path.write_text('[[labels]]\nname = "red"\ntexts = ["  a red\\n thing "]\nrule = {precision = 1}')
    assert labels.read(path) == [Label("red", ("a red thing",), rule=Rule("precision", 1.0))]


def test_the_csv_is_one_that_a_spreadsheet_reads() -> None:
    given = [Label("red", ("a, b", 'say "c"'), "g", ("d\u2028e".replace("\u2028", " "),), ("s1", "s2", "s3"))]
    rows = list(csv.DictReader(io.StringIO(to_csv(given))))
    assert [row["text"] for row in rows] == ["a, b", 'say "c"', ""]
    assert [row["example_for"] for row in rows] == ["s1", "s2", "s3"]
    assert [row["rule"] for row in rows] == ["percentile 99.0", "", ""]


GOOD: dict[str, Any] = {"name": "red", "texts": ["red"]}


@pytest.mark.parametrize(
    ("tables", "complaint"),
    [
        ([], "hold no label"),
        ([3], "label 1: is no table"),
        ([GOOD, {**GOOD, "colour": 1}], "label 2: unknown key 'colour' (valid keys: name"),
        ([GOOD, {**GOOD, "name": " red "}], "label 2: the name 'red' comes again"),
        ([{"texts": ["red"]}], "the name '': must be of 1 to 100"),
        ([{**GOOD, "name": "a/b"}], "has a slash in it"),
        ([{**GOOD, "name": 3}], "label 1: name: 3 is no text"),
        ([{**GOOD, "name": "x" * 101}], "must be of 1 to 100"),
        ([{"name": "red"}], "the label 'red' has no text"),
        ([{**GOOD, "texts": "red"}], "texts: is no list"),
        ([{**GOOD, "texts": ["red", " "]}], "texts: holds an empty text"),
        ([{**GOOD, "texts": ["a"] * 65}], "texts: is no list of at most 64"),
        ([{**GOOD, "texts": ["a\0b"]}], "has characters that are no text"),
        ([{**GOOD, "texts": ["\ud800"]}], "has characters that are no text"),
        ([{**GOOD, "texts": ["a" * 2001]}], "has 2001 characters, at most 2000"),
        ([{**GOOD, "examples_for": ["s"], "examples_against": ["s"]}], "segment s is an example for and against 'red'"),
        ([{**GOOD, "rule": {}}], "rule: is no table of one key"),
        ([{**GOOD, "rule": {"percentile": 99, "score": 1}}], "rule: is no table of one key"),
        ([{**GOOD, "rule": {"cosine": 1}}], "rule: there is no rule 'cosine'"),
        ([{**GOOD, "rule": {"percentile": 101}}], "percentile must be a number from 0 to 100"),
        ([{**GOOD, "rule": {"precision": True}}], "precision must be a number from 0 to 1"),
        ([{**GOOD, "rule": {"score": float("nan")}}], "score must be a number"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tables: list[object], complaint: str) -> None:
    with pytest.raises(UserError, match=re.escape(complaint)) as told:
        from_tables(tables)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("a.toml", "labels = [", "not TOML"),
        ("a.toml", 'x = 1\n[[labels]]\nname = "a"', "is to hold tables [[labels]], and nothing else"),
        ("a.toml", "labels = 3", "is to hold tables"),
        ("a.csv", "", "has the columns none"),
        ("a.csv", "name,words\na,b\n", "has the columns name, words (name and text, and of name, group"),
        ("a.csv", "name,text\na\n", "line 2: has more or fewer cells"),
        ("a.csv", "name,text\na,b,c\n", "line 2: has more or fewer cells"),
        ("a.csv", 'name,text\na,"b', "cannot be read: unexpected end of data"),
        ("a.csv", "name,text,rule\na,b,percentile 99\na,c,percentile 98\n", "line 3: the label 'a' has another rule above"),
        ("a.csv", "name,text,group\na,b,g\na,c,h\n", "line 3: the label 'a' has another group above"),
        ("a.csv", "name,text,rule\na,b,99\n", "line 2: '99' is none"),
        ("a.csv", "name,text,rule\na,b,percentile x\n", "line 2: 'percentile x' is none"),
        ("a.csv", "name,text\na,\n", "the label 'a' has no text"),
        ("a.csv", "name,text\n,b\n", "the name '': must be of"),
        ("a.txt", "red", "is no .csv and no .toml"),
    ],
)
def test_files_that_are_none(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UserError, match=re.escape(complaint)) as told:
        labels.read(path)
    assert name in str(told.value) and "\n" not in str(told.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        labels.read(tmp_path / "none.csv")
    (tmp_path / "odd.csv").write_bytes(b"name,text\n\xff\xfe")
    with pytest.raises(UserError, match="it is no text"):
        labels.read(tmp_path / "odd.csv")


def test_names_of_sets() -> None:
    assert labels.set_name("  my   set ") == "my set"
    for name in ("", " ", "a/b", "x" * 101, "\ud800"):
        with pytest.raises(UserError):
            labels.set_name(name)
