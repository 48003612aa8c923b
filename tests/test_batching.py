"""Texts of many threads are embedded together, and each gets what it would have got alone."""

import gc
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny_model
from hit.analysis import ServingEncoder
from hit.batching import Batching
from hit.errors import UserError
from hit.library import Library
from hit.types import Floats
from toy import ToyEncoder

WAIT = 30.0  # seconds after which a test is taken to hang


class Gate(ToyEncoder):
    """A toy that notes what it is given, refuses "bad" texts, and can be made to wait inside a call."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[list[str]] = []
        self.threads: set[int] = set()
        self.entered, self.open = threading.Semaphore(0), threading.Event()
        self.open.set()
        self.inside = 0

    def embed_texts(self, texts: Sequence[str]) -> Floats:
        self.inside += 1
        assert self.inside == 1, "two threads at once"
        self.given.append(list(texts))
        self.threads.add(threading.get_ident())
        self.entered.release()
        assert self.open.wait(WAIT)
        self.inside -= 1
        if any("bad" in text for text in texts):
            raise UserError("a text", f"one of {len(texts)} is bad")
        return super().embed_texts(texts)


class Crowd:
    """Threads that each make one call while the encoder is held inside the first one, in a known order."""

    def __init__(self, encoder: Gate, batching: Batching) -> None:
        self.encoder, self.batching = encoder, batching
        self.pool = ThreadPoolExecutor(32)

    def ask(self, first: Sequence[str], calls: Sequence[Sequence[str]]) -> list[Any]:
        """Return what the first call, and then those that came meanwhile, return or raise."""
        self.encoder.open.clear()
        answers = [self.pool.submit(self.batching.embed_texts, first)]
        assert self.encoder.entered.acquire(timeout=WAIT)
        desk = self.batching._desk
        for number, texts in enumerate(calls, 1):
            answers.append(self.pool.submit(self.batching.embed_texts, texts))
            while len(desk._calls) < number:  # each is there before the next one comes
                assert not answers[-1].done()
        self.encoder.open.set()
        return [answer.exception(WAIT) or answer.result() for answer in answers]


@pytest.fixture
def encoder() -> Gate:
    return Gate()


def batched(encoder: ServingEncoder, **options: int) -> Batching:
    return Batching(encoder, **({"keep": 0} | options))


def test_it_is_an_encoder_like_the_one_that_it_makes_use_of(encoder: Gate) -> None:
    made: ServingEncoder = batched(encoder)
    for name in ("id", "revision", "dim", "parts", "weights", "experts", "identities"):
        assert getattr(made, name) == getattr(encoder, name)


texts = st.lists(st.sampled_from(["red", "green", "blue", "red blue", "blue red", "x"]), max_size=12)


@given(calls=st.lists(texts, max_size=4), most=st.integers(1, 5), keep=st.integers(0, 4))
def test_rows_are_those_of_the_encoder_in_the_order_of_the_texts(calls: list[list[str]], most: int, keep: int) -> None:
    made = Batching(ToyEncoder(), most, keep)
    for call in calls:
        found = made.embed_texts(call)
        assert found.shape == (len(call), 8)
        assert found.dtype == np.float32
        assert np.array_equal(found, ToyEncoder().embed_texts(call).reshape(-1, 8))
    assert made.asked == sum(map(len, calls))
    made.close()


def test_what_comes_while_others_are_embedded_is_embedded_together(encoder: Gate) -> None:
    found = Crowd(encoder, batched(encoder)).ask(["red"], [["green"], ["blue", "red blue"], ["green"]])
    assert encoder.given == [["red"], ["green", "blue", "red blue"]]
    assert len(encoder.threads) == 1
    for rows, own in zip(found, [["red"], ["green"], ["blue", "red blue"], ["green"]], strict=True):
        assert np.array_equal(rows, ToyEncoder().embed_texts(own))


def test_no_more_texts_than_are_wanted_are_embedded_at_once(encoder: Gate) -> None:
    made = batched(encoder, most=3)
    Crowd(encoder, made).ask(["red"], [["green"], ["blue"], ["red blue", "blue red"], ["x"]])
    assert encoder.given == [["red"], ["green", "blue"], ["red blue", "blue red", "x"]]
    assert (made.embedded, made.batches) == (6, 3)


def test_a_long_call_lets_others_in_between(encoder: Gate) -> None:
    long = [f"red {n}" for n in range(5)]
    found = Crowd(encoder, batched(encoder, most=2)).ask(long, [["green"]])
    assert [texts for texts in encoder.given if "green" in texts] == [["green"]]
    assert encoder.given.index(["green"]) < 3
    assert np.array_equal(found[0], ToyEncoder().embed_texts(long))


@pytest.mark.parametrize("place", range(5))
def test_an_error_reaches_only_those_whose_texts_cause_it(encoder: Gate, place: int) -> None:
    calls = [["green"], ["blue"], ["red blue", "blue"], ["blue red"]]
    calls.insert(place, ["red", "bad"])
    first, *found = Crowd(encoder, batched(encoder)).ask(["red"], calls)
    assert np.array_equal(first, ToyEncoder().embed_texts(["red"]))
    assert isinstance(found[place], UserError)
    assert "one of 2" in str(found[place])  # as it would be alone
    for rows, own in zip(found, calls, strict=True):
        if "bad" not in own:
            assert np.array_equal(rows, ToyEncoder().embed_texts(own))


def test_after_an_error_it_goes_on(encoder: Gate) -> None:
    made = batched(encoder, keep=4)
    for _ in range(2):  # and an error is not remembered
        with pytest.raises(UserError, match="bad"):
            made.embed_texts(["bad"])
    assert np.array_equal(made.embed_texts(["red"]), ToyEncoder().embed_texts(["red"]))


def test_what_is_no_mistake_of_the_user_is_raised_too() -> None:
    class Short(ToyEncoder):
        def embed_texts(self, texts: Sequence[str]) -> Floats:
            return super().embed_texts(texts)[1:]

    with pytest.raises(ValueError, match="shorter"):
        batched(Short()).embed_texts(["red"])


def test_the_last_texts_are_remembered(encoder: Gate) -> None:
    made = batched(encoder, keep=2)
    for text in ("red", "green", "red", "blue", "red", "green"):  # green was asked for longest ago when blue came
        assert np.array_equal(made.embed_texts([text]), ToyEncoder().embed_texts([text]))
    assert encoder.given == [["red"], ["green"], ["blue"], ["green"]]
    assert (made.asked, made.known, made.embedded) == (6, 2, 4)
    made.embed_texts(["red", "x", "x"])
    assert encoder.given[-1] == ["x"]
    assert (made.asked, made.known, made.embedded) == (9, 3, 5)


def test_what_is_remembered_is_not_changed_by_who_got_it(encoder: Gate) -> None:
    made = batched(encoder, keep=2)
    for _ in range(3):
        rows = made.embed_texts(["red"])
        assert np.array_equal(rows, ToyEncoder().embed_texts(["red"]))
        rows[:] = 7


def test_a_very_long_text_is_not_remembered(encoder: Gate) -> None:
    made = batched(encoder, keep=9)
    for _ in range(2):
        made.embed_texts(["red " * 1000])
    assert len(encoder.given) == 2


def test_clips_wait_for_texts_and_texts_for_clips(encoder: Gate) -> None:
    inside = threading.Event()

    class Looking(Gate):
        def embed_clips(self, clips: Any) -> Floats:
            assert self.inside == 0
            inside.set()
            return super().embed_clips(clips)

    looking = Looking()
    made, pool = batched(looking), ThreadPoolExecutor(2)
    looking.open.clear()
    asked = pool.submit(made.embed_texts, ["red"])
    assert looking.entered.acquire(timeout=WAIT)
    clips = pool.submit(made.embed_clips, [])
    assert not inside.is_set()
    looking.open.set()
    assert clips.result(WAIT).shape == (0, 8)
    assert asked.result(WAIT).shape == (1, 8)


def alive() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "batching"]


def end(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(WAIT)
        assert not thread.is_alive()


@pytest.mark.parametrize("how", [Batching.close, lambda made: None])
def test_its_thread_ends_with_it(encoder: Gate, how: Callable[[Batching], None]) -> None:
    before = alive()
    made = batched(encoder)
    assert alive() == before  # none is started that is not needed
    made.embed_texts(["red"])
    mine = [thread for thread in alive() if thread not in before]
    assert len(mine) == 1
    how(made)
    del made
    gc.collect()
    end(mine)


def test_what_waits_when_it_is_closed_is_still_answered(encoder: Gate) -> None:
    made = batched(encoder)
    encoder.open.clear()
    pool = ThreadPoolExecutor(2)
    first = pool.submit(made.embed_texts, ["red"])
    assert encoder.entered.acquire(timeout=WAIT)
    second = pool.submit(made.embed_texts, ["green"])
    while not made._desk._calls:
        assert not second.done()
    made.close()
    made.close()
    encoder.open.set()
    assert np.array_equal(second.result(WAIT), ToyEncoder().embed_texts(["green"]))
    assert first.result(WAIT).shape == (1, 8)
    with pytest.raises(RuntimeError, match="closed"):
        made.embed_texts(["blue"])


def test_a_librarys_model_is_wrapped_whenever_it_is_loaded(tmp_path: Path) -> None:
    model = tiny_model.write(tmp_path / "model")
    with Library.create(tmp_path / "library", model) as library:
        alone = library.encoder.embed_texts(["a red ball", "a box"])
    with Library.open(tmp_path / "library") as library:
        library.wrap = Batching
        made = library.encoder
        assert isinstance(made, Batching)
        assert library.encoder is made
        assert made.embed_texts(["a box", "a red ball"]) == pytest.approx(alone[::-1], abs=1e-5)


def test_many_threads_get_their_own_rows() -> None:
    made = Batching(ToyEncoder(), 8, 3)
    colours = ["red", "green", "blue", "grey"]
    calls = [[colours[(i + n) % 4] for n in range(i % 5)] for i in range(400)]
    with ThreadPoolExecutor(16) as pool:
        for rows, own in zip(pool.map(made.embed_texts, calls), calls, strict=True):
            assert np.array_equal(rows, ToyEncoder().embed_texts(own).reshape(-1, 8))
    assert made.asked == sum(map(len, calls))
