"""Page tokens: they come back as they were, and nothing else passes for one."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hit import pages
from hit.errors import UserError
from hit.pages import Page

FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@given(st.integers(0), st.integers(0), FLOATS, FLOATS, st.integers(0))
def test_a_token_is_its_page(rows: int, shown: int, first: float, second: float, row: int) -> None:
    page = Page("q", "embeddings/r/0", rows, shown, (first, second, row))
    token = page.token()
    assert pages.read(token, "q", "embeddings/r/0") == page
    assert token.replace("-", "").replace("_", "").isalnum()


def test_a_token_of_another_search_or_time_is_refused() -> None:
    token = Page("q", "a", 1, 1, (0.0, 0.0, 0)).token()
    with pytest.raises(UserError, match="another search"):
        pages.read(token, "other", "a")
    with pytest.raises(UserError, match="rewritten"):
        pages.read(token, "q", "b")


@given(st.text() | st.binary().map(lambda data: base64.urlsafe_b64encode(data).decode()))
def test_anything_else_is_refused_in_one_line(token: str) -> None:
    with pytest.raises(UserError, match="page token"):
        pages.read(token, "q", "a")


@given(st.lists(st.none() | st.booleans() | st.integers() | FLOATS | st.text(), max_size=9))
def test_no_list_of_values_brings_it_down(values: list[object]) -> None:
    token = base64.urlsafe_b64encode(json.dumps(values).encode()).decode()
    try:
        pages.read(token, "q", "a")
    except UserError:
        return
    assert values[:2] == ["q", "a"]


def test_a_digest_tells_queries_apart() -> None:
    assert pages.digest({"a": 1, "b": 2}) == pages.digest({"b": 2, "a": 1}) != pages.digest({"a": 1, "b": 3})
