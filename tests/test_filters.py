"""The filter language: what it says, that text and JSON say the same, and that nonsense is one clear line."""

import json
import re
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filter_helpers import NODES
from hit.errors import UserError
from hit.filters import FIELDS, KINDS, And, Node, Not, Or, Term, from_json, parse, to_json, to_text
from hit.filters.tree import MAX_DEPTH, MAX_TERMS, MAX_TEXT, MAX_VALUE, MAX_VALUES

A, B, C = (Term("tag", "in", (name,)) for name in "abc")
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([*FIELDS, "1:30", "2026-11-01"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3) | st.sampled_from(["and", "or", "not"]), inner, max_size=2)
        | st.tuples(inner, st.sampled_from(["eq", "ne", "in", "any", "none", "lt", "gte", "contains", "?"]), inner).map(
            lambda three: {"field": three[0], three[1]: three[2]}
        )
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("tag=a", A),
        ("tag == a", A),
        (" tag\n=\ta ", A),
        ("TAG=a", A),
        ("tag in [a]", A),
        ("tag!=a", Not(A)),
        ("not tag=a", Not(A)),
        ("not not tag=a", Not(Not(A))),
        ("not(tag=a)", Not(A)),
        ("tag in [a, b,c]", Term("tag", "in", ("a", "b", "c"))),
        ("tag not in [a,b]", Not(Term("tag", "in", ("a", "b")))),
        ("tag in []", Term("tag", "in", ())),
        ("tag=a and tag=b or tag=c", Or((And((A, B)), C))),
        ("tag=a OR tag=b And tag=c", Or((A, And((B, C))))),
        ("tag=a and (tag=b or tag=c)", And((A, Or((B, C))))),
        ("not tag=a and tag=b", And((Not(A), B))),
        ("tag=a and tag=b and tag=c", And((A, B, C))),
        ("tag = and", Term("tag", "in", ("and",))),
        ("tag = not", Term("tag", "in", ("not",))),
        ("tag:sport", Term("tag", "contains", ("sport",))),
        ('path:"my draft"', Term("path", "contains", ("my draft",))),
        ("path:'my draft'", Term("path", "contains", ("my draft",))),
        (r'path:"say \"hi\" \\ \n"', Term("path", "contains", ('say "hi" \\ \\n',))),
        ("name=a:b=c.mp4", Term("name", "in", ("a:b=c.mp4",))),
        ("width>=1280", Term("width", "gte", (1280.0,))),
        ("rate=23.976", Term("rate", "in", (23.976,))),
        ("audio=yes", Term("audio", "in", (True,))),
        ("audio!=True", Not(Term("audio", "in", (True,)))),
        ("added>2026-11-01", Term("added", "gt", (date(2026, 11, 1),))),
        ("added<2026-11-01T12:30", Term("added", "lt", (datetime(2026, 11, 1, 12, 30, tzinfo=UTC),))),
        ("added<'2026-11-01 12:30+02:00'", Term("added", "lt", (datetime(2026, 11, 1, 10, 30, tzinfo=UTC),))),
        ('speech:"penalty kick"', Term("speech", "contains", ("penalty kick",))),
    ],
)
def test_what_a_text_says(text: str, node: Node) -> None:
    assert parse(text) == node


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("1.5", 1.5),
        ("1:30", 90),
        ("0:05.25", 5.25),
        ("90:00", 5400),
        ("1:02:03", 3723),
        ("5m", 300),
        ("1.5h", 5400),
        ("1h30m", 5400),
        ("1H2M3S", 3723),
        ("2h5", 7205),
    ],
)
def test_seconds_may_be_written_as_people_do(text: str, seconds: float) -> None:
    expected = Term("duration", "gte", (float(seconds),))
    assert parse(f"duration>={text}") == from_json({"field": "duration", "gte": text}) == expected
    assert from_json({"field": "duration", "gte": seconds}) == expected


@pytest.mark.parametrize(
    "text", ["long", "1:60", "1:2", "1:2:3", "-5", "1e3", "inf", "nan", "h", "5x", "1m1h", "1.", "٣", "9" * 400]
)
def test_other_seconds_are_none(text: str) -> None:
    with pytest.raises(UserError, match="'duration' is a number of seconds, not"):
        parse(f"duration>={text}")


def test_the_issues_example() -> None:
    node = parse('duration>=60 and tag in [a,b] and not path:"draft"')
    assert to_json(node) == {
        "and": [
            {"field": "duration", "gte": 60},
            {"field": "tag", "any": ["a", "b"]},
            {"not": {"field": "path", "contains": "draft"}},
        ]
    }
    assert to_text(node) == "duration>=60 and tag in [a, b] and not path:draft"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"field": "tag", "eq": "a"}, "tag=a"),
        ({"field": "tag", "ne": "a"}, "tag!=a"),
        ({"field": "tag", "in": ["a", "b"]}, "tag in [a, b]"),
        ({"field": "tag", "any": ["a"]}, "tag=a"),
        ({"field": "codec", "any": ["h264", "av1"]}, "codec in [h264, av1]"),
        ({"field": "tag", "none": ["a", "b"]}, "tag not in [a, b]"),
        ({"field": "width", "lt": 5}, "width<5"),
        ({"field": "width", "lte": 5.5}, "width<=5.5"),
        ({"field": "width", "gt": 1e-7}, "width>0.0000001"),
        ({"field": "width", "gt": 0.0 * -1}, "width>0"),
        ({"field": "audio", "eq": False}, "audio=no"),
        ({"field": "added", "gte": "2026-11-01T12:30:00+02:00"}, "added>=2026-11-01T10:30:00Z"),
        ({"field": "tag", "eq": 'a "b" \\'}, r'tag="a \"b\" \\"'),
        ({"and": [{"field": "tag", "eq": "a"}]}, "tag=a"),
        (
            {"or": [{"field": "tag", "eq": "a"}, {"not": {"or": [{"field": "tag", "eq": "b"}] * 2}}]},
            "tag=a or not (tag=b or tag=b)",
        ),
    ],
)
def test_what_json_says(value: object, text: str) -> None:
    assert to_text(from_json(value)) == text


@given(NODES)
def test_text_and_json_lose_nothing(node: Node) -> None:
    assert parse(to_text(node)) == node
    assert from_json(json.loads(json.dumps(to_json(node), allow_nan=False))) == node


def is_a_filter_or_one_line(text: str) -> None:
    try:
        node = parse(text)
    except UserError as error:
        assert str(error).isprintable()
    else:
        assert parse(to_text(node)) == node


@given(st.text() | st.text("tag=<>!:in[],ornd \"'\\()1a"))
def test_any_text_is_a_filter_or_one_line(text: str) -> None:
    is_a_filter_or_one_line(text)


@given(NODES.map(to_text), st.data())
def test_a_damaged_filter_is_another_or_one_line(text: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text)))
    is_a_filter_or_one_line(text[:at] + data.draw(st.sampled_from(["", "(", '"', "=", " or ", "]"])) + text[at + 1 :])


@given(ANY_JSON)
def test_any_json_is_a_filter_or_one_line(value: object) -> None:
    try:
        node = from_json(value)
    except UserError as error:
        assert str(error).isprintable()
    else:
        assert from_json(to_json(node)) == node


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "ends too early, at ^ (expected '(' or 'not' or a field)"),
        ("tag", "ends too early, at tag^ (expected 'in' or 'not' or one of : = != < <= > >=)"),
        ("tag =", "ends too early, at tag =^ (expected a value)"),
        ("tag a", "cannot be understood, at tag ^a (expected 'in' or 'not' or one of : = != < <= > >=)"),
        ("tag=a x", "cannot be understood, at tag=a ^x (expected 'and' or 'or' or the end)"),
        ("(tag=a", "ends too early, at (tag=a^ (expected ')')"),
        ("tag=a)", "cannot be understood, at tag=a^) (expected the end)"),
        ("tag in [a b]", "cannot be understood, at tag in [a ^b] (expected ',' or ']')"),
        ('path:"dra', 'has a quote that does not end, at path:^"dra'),
        ("tag=a and lenght>5", "there is no field 'lenght', at tag=a and ^lenght>5 (did you mean 'length'?)"),
        (
            "duration>=long",
            "'duration' is a number of seconds, not 'long', at duration>=^long (such as 90, 1:30, 1:02:03, 5m or 1h30m)",
        ),
        ("width=1:30", "'width' is a number, not '1:30', at width=^1:30 (such as 1080 or 23.976)"),
        ("audio:yes", "'audio' is yes or no, for which there is no ':', at audio^:yes (only text contains something)"),
        ("tag>3", "'tag' is text, for which there is no '>', at tag^>3 (only numbers and dates are less or more)"),
        ("text=a", "'text' is text, for which there is no '=', at text^=a (say what a line contains, by : (JSON: contains))"),
        (
            "tag=a\nor @ " + "tag=b " * 9,
            "cannot be understood, at tag=a or ^@ tag=b tag=b tag=b tag=b tag=... (expected '(' or 'not' or a field)",
        ),
        ("tag='a\0b'", "a value holds characters that no stored text has (NUL, or half of a pair), at tag=^'a b'"),
        ('tag=""', "'tag' is text, not '', at tag=^\"\""),
    ],
)
def test_errors_show_the_place(text: str, says: str) -> None:
    with pytest.raises(UserError) as error:
        parse(text)
    assert str(error.value) == f"the filter: {says}"


def test_a_field_like_no_other_gets_the_list() -> None:
    with pytest.raises(UserError, match=re.escape(f"there is no field 'xyzzy', at ^xyzzy=1 (there are {', '.join(FIELDS)})")):
        parse("xyzzy=1")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "the filter: is null"),
        ("tag=a", "the filter: is 'tag=a' (a filter is an object"),
        ({}, "the filter: is not of a form that filters have"),
        ({"and": []}, "the filter: is not of a form"),
        ({"not": {"and": [{"field": "tag", "eq": "a"}, 5]}}, "the filter at not.and[1]: is 5"),
        ({"field": "tags", "eq": "a"}, "the filter: there is no field 'tags' (did you mean 'tag'?)"),
        ({"field": ["tag"], "eq": "a"}, "the filter: there is no field a list"),
        ({"field": "tag", "contain": "a"}, "the filter: there is no operator 'contain' (did you mean 'contains'?)"),
        ({"field": "tag", "eq": "a", "ne": "b"}, "the filter: is not of a form"),
        ({"field": "tag", "eq": ["a"]}, "the filter: 'eq' takes a single value, not a list"),
        ({"field": "tag", "in": "a"}, "the filter: 'in' takes a list, not 'a'"),
        ({"field": "tag", "eq": 5}, "the filter: 'tag' is text, not 5"),
        ({"field": "width", "eq": True}, "the filter: 'width' is a number, not true"),
        ({"field": "width", "eq": 10**400}, "the filter: 'width' is a number, not a number"),
        ({"field": "width", "eq": float("nan")}, "the filter: 'width' is a number, not"),
        ({"field": "duration", "eq": -1}, "the filter: 'duration' is a number of seconds, not -1"),
        ({"field": "added", "eq": 2026}, "the filter: 'added' is a date, or a date and time, not 2026"),
        ({"field": "added", "eq": "0001-01-01T00:00+10:00"}, "the filter: 'added' is a date, or a date and time, not '0001"),
        ({"field": "tag", "eq": "\ud800"}, "the filter: a value holds characters"),
    ],
)
def test_errors_in_json_name_the_place(value: Any, says: str) -> None:
    with pytest.raises(UserError) as error:
        from_json(value)
    assert str(error.value).startswith(says)


def deep(levels: int) -> Any:
    value: Any = {"field": "tag", "eq": "a"}
    for _ in range(levels):
        value = {"not": value}
    return value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("(" * 10_000, "ends too early"),
        ("not " * 2_000 + "tag=a", f"goes deeper than {MAX_DEPTH} levels"),
        ("tag=a and " * MAX_TERMS + "tag=a", f"has {MAX_TERMS + 1} terms"),
        ("tag=" + "a" * (MAX_VALUE + 1), f"a value has {MAX_VALUE + 1} characters"),
        ("tag=a or " * 120_000, f"has 1080000 characters, more than {MAX_TEXT}"),
        ('tag="' + "\\" * 9_000, "has a quote that does not end"),
    ],
)
def test_what_is_too_large_is_refused_at_once(text: str, says: str) -> None:
    begun = time.process_time()
    with pytest.raises(UserError, match=says):
        parse(text)
    assert time.process_time() - begun < 5  # a guard against what grows with the square, not a measurement


def test_brackets_that_only_surround_are_no_depth() -> None:
    assert parse("(" * 4_000 + "tag=a" + ")" * 4_000) == A


def test_json_that_is_too_large_is_refused() -> None:
    assert to_json(from_json(deep(MAX_DEPTH))) == to_json(parse("not " * MAX_DEPTH + "tag=a"))
    for value, says in [
        (deep(MAX_DEPTH + 1), "goes deeper"),
        (deep(900), "goes deeper"),
        ({"field": "video", "in": ["a"] * (MAX_VALUES + 1)}, f"has {MAX_VALUES + 1} values"),
        ({"or": [{"field": "tag", "eq": "a"}] * (MAX_TERMS + 1)}, f"has {MAX_TERMS + 1} terms"),
    ]:
        with pytest.raises(UserError, match=says):
            from_json(value)


# -- docs/filters.md


def test_every_example_of_the_document_is_a_filter(root: Path) -> None:
    document = (root / "docs" / "filters.md").read_text()
    examples = re.findall(r"```filter\n(.*?)```", document, re.DOTALL)
    lines = [line.split("  #")[0] for block in examples for line in block.splitlines()]
    assert len(lines) >= 10
    for line in lines:
        assert from_json(to_json(parse(line))) == parse(line)
    values = re.findall(r"```json\n(.*?)```", document, re.DOTALL)
    assert len(values) >= 2
    for value in values:
        parse(to_text(from_json(json.loads(value))))


def test_the_document_has_every_field(root: Path) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|$", (root / "docs" / "filters.md").read_text(), re.MULTILINE)
    assert rows == [(name, KINDS[field.kind][0], field.what) for name, field in FIELDS.items()]
