"""The journal: what was told stays told, whoever else writes and whatever is cut short."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hit import objects
from hit.errors import UserError
from hit.journal import Entry, Journal
from hit.types import Far
from nearby import here

NAMES = ["a b.mp4", "line\nbreak.mp4", "ünï\u2028code.mp4", "surrogate\udc80.mp4", '"quoted".mp4']


def test_what_is_written_is_read_and_the_last_entry_holds(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "new" / "journal.jsonl")
    assert journal.read() == {}
    entries = {name: Entry(name, "failed", f"why {name}", 1.5, 2.5, "hash", 7, 8, {"clip": "reason"}) for name in NAMES}
    journal.write(*entries.values())
    assert journal.read() == entries
    journal.write(again := Entry(NAMES[0], "done"))
    assert journal.read() == {**entries, NAMES[0]: again}
    assert len(here(journal.path).read_bytes().splitlines()) == len(NAMES) + 1


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_line_that_was_cut_short_costs_itself_only(tmp_path: Path, cut: int) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.write(Entry("one", "done"), Entry("two", "done"))
    here(journal.path).write_bytes(here(journal.path).read_bytes()[:-cut])
    journal.write(Entry("three", "done"))
    assert set(journal.read()) == ({"one", "two", "three"} if cut == 1 else {"one", "three"})


WRITER = """
import sys
from pathlib import Path
from hit.journal import Entry, Journal
journal = Journal(Path(sys.argv[1]))
for number in range(100):
    journal.write(Entry(f"{sys.argv[2]} {number}", "done", "x" * 500))
"""


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), name]) for name in ("one", "two")]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert set(Journal(path).read()) == {f"{name} {number}" for name in ("one", "two") for number in range(100)}


def test_a_journal_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").mkdir()
    with pytest.raises(UserError, match="cannot be read"):
        Journal(tmp_path / "journal.jsonl").read()


def test_in_an_object_store_many_files_become_one_however_many_tidy_and_read(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("obstore")
    one, two = (Journal(Far("memory://journal-that-is-tidied")) for _ in range(2))
    entries = {str(number): Entry(str(number), "done") for number in range(70)}
    assert one._far and two._far
    for entry in entries.values():
        one.write(entry)
    listed = one._far.list

    def overtaken() -> Iterator[objects.Entry]:
        names = [*listed()]
        two.tidy()
        return iter(names)

    monkeypatch.setattr(one._far, "list", overtaken)
    one.tidy()
    assert two.read() == entries and len([*listed()]) == 1
    for entry in entries.values():
        two.write(entry)
    assert one.read() == entries and len([*listed()]) == 1  # it was tidied between the listing and the reading
