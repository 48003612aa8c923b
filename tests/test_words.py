"""What of a text counts as its words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hit.db.words import COMMON, MAX_WORDS, _spaceless, asked, begins, document, normalise, words

SPACELESS = "猫犬がカ学교ไท"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Hello, World!", "hello world"),
        ("snake_case-and.dots/slashes", "snake case and dots slashes"),
        ("Café ÜBER naïve Ångström", "cafe uber naive angstrom"),
        ("cafe\u0301", "cafe"),
        ("Straße STRASSE", "strasse strasse"),
        ("Ελλάς", "ελλασ"),
        ("Ёлка и Й", "елка и и"),
        ("ﬁne № ² ㎒", "fine no 2 mhz"),
        ("İstanbul", "istanbul"),
        ("שָׁלוֹם مَرْحَبًا", "שלום مرحبا"),
        ("हिन्दी", "हिन्दी"),
        ("co\u00adoperate", "cooperate"),
        ("a❤️b 1️⃣", "a b 1"),
        ("don't 3.5", "don t 3 5"),
        ("\0\n\t", ""),
        ("", ""),
        ("猫", "猫"),
        ("黒猫が", "黒猫 猫が が"),
        ("東京2020年", "東京 京 2020 年"),
        ("がギ ｶﾞ", "がギ ギ ガ"),
        ("학교에서", "학교 교에 에서 서"),
        ("x" * 100, "x" * 64),
    ],
)
def test_normalise(text: str, found: str) -> None:
    assert normalise(text) == found.split()


@given(st.text() | st.text("aÄéßςǅİ \u0301\u0308\ufe0f\u00ad_'猫がไ"))
def test_case_accents_and_punctuation_are_nothing(text: str) -> None:
    found = normalise(text)
    assert all(word and word == word.casefold() and (word[0].isalnum() or _spaceless(word)) for word in found)
    assert not any(c.isspace() or c in "\"'\\_:*()" for c in "".join(found))
    assert normalise(f" -{text}!\0") == found
    if not set(text) & set(SPACELESS) and not any(ord(c) > 0x2000 for c in text):
        assert normalise(" ".join(found)) == found


@given(st.text(SPACELESS, min_size=1), st.data())
def test_every_part_of_a_run_is_words_in_a_row(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    part = text[start : data.draw(st.integers(start + 1, len(text)))]
    (phrase,) = asked(f'"{part}"')[1]
    there = normalise(text)
    for at in range(len(there) - len(phrase) + 1):
        *first, last = zip(phrase, there[at:], strict=False)
        if all(a == b for a, b in first) and (last[0] == last[1] or (begins(phrase) and last[1].startswith(last[0]))):
            return
    assert len(phrase) == MAX_WORDS, "only what is cut off is not found"


def test_what_counts() -> None:
    assert words("The x-ray of a Vitamin C, 7 times") == {"ray", "vitamin", "7", "times"}
    assert words("猫 I") == {"猫"}
    assert words("黒猫が") == {"黒猫", "猫が"}
    assert words(" ".join(COMMON)) == set()


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("GoalKick2026", "goalkick2026 goal kick 2026"),
        ("IMG_1234", "img 1234"),
        ("myHTMLFile", "myhtmlfile my html file"),
        ("ÉtéÀParis", "eteaparis ete a paris"),
        ("S01E02", "s01e02 s 01 e 02"),
        ("plain name", "plain name"),
    ],
)
def test_names_are_found_whole_and_in_parts(name: str, found: str) -> None:
    assert document([], [name], []) == document([], [], [name]) == found


def test_a_document_is_lines_names_and_tags() -> None:
    assert document(["Hello there", "GoodBye"], ["a_b"], ["Sport"]) == "hello there goodbye a b sport"
    assert document([], [], []) == ""


def test_a_document_has_an_end() -> None:
    assert len(document(["a " * 20_000], [], []).split()) == 10_000
    long = document([f"{'x' * 60}{i} " for i in range(9_000)], [], [])
    assert 99_000 < len(long) <= 100_000
    assert set(map(len, long.split())) <= {61, 62, 63, 64}


@pytest.mark.parametrize(
    ("text", "wanted", "phrases"),
    [
        ("a dog or the Dog", "dog", []),
        ('"to be or not" that', "", ["to be or not"]),
        ('say "Hello World" "again"', "say hello world again", ["hello world", "again"]),
        ('open "quote', "open quote", []),
        ('"" "!?" x', "", []),
        ('"黒猫"', "黒猫", ["黒猫"]),
        ('"猫 abc"', "猫 abc", ["猫 abc"]),
    ],
)
def test_queries(text: str, wanted: str, phrases: list[str]) -> None:
    assert asked(text) == (wanted.split(), [phrase.split() for phrase in phrases])


def test_queries_have_an_end() -> None:
    wanted, phrases = asked(" ".join(f'"a{i} b"' for i in range(1_000_000)))
    assert (len(wanted), len(phrases)) == (MAX_WORDS, 8)
    (phrase,) = asked('"' + "ab " * 500 + '"')[1]
    assert len(phrase) == MAX_WORDS
