"""UserError: three parts in one line, also from another process."""

import pickle
from pathlib import Path

import pytest

from hit.errors import UserError


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("a.mp4", "cannot be read"), "a.mp4: cannot be read"),
        (UserError(Path("r.toml"), "unknown key 'x'", "did you mean 'y'?"), "r.toml: unknown key 'x' (did you mean 'y'?)"),
    ],
)
def test_one_line(error: UserError, line: str) -> None:
    assert str(error) == line


def test_workers_send_it_whole() -> None:
    error = UserError(Path("a.mp4"), "cannot be read", "try another")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.what, copy.why, copy.fix, str(copy)) == (
        UserError,
        "a.mp4",
        "cannot be read",
        "try another",
        str(error),
    )
