"""The tables of a data set: csv files in UTF-8 with a first line that names their columns."""

import csv
import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from hit.errors import UserError


def rows(
    path: Path, needed: Sequence[tuple[str, ...]], columns: str, absent: str, delimiter: str = ","
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line, row) with trimmed values, names of columns in lower case; empty lines are left out.

    `needed` are the columns that must be there, each as a choice of names; `columns` says so to the user, and `absent` what
    to do where there is no file. Raises UserError, with the line, for what is no such table.
    """
    try:
        # utf-8-sig: spreadsheets begin their csv files with a byte order mark
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True, delimiter=delimiter)
            header = [name.strip().lower() for name in next(reader, [])]
            if not all(set(choice) & set(header) for choice in needed):
                raise UserError(path, f"its columns are '{','.join(header)}'", f"the first line must name {columns}")
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    padded = [*cells, *[""] * (len(header) - len(cells))]
                    yield reader.line_num, dict(zip(header, (cell.strip() for cell in padded), strict=False))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(path, "there is no such file", absent) from None
    except IsADirectoryError:
        raise UserError(path, "is a folder, not a file", absent) from None
    except UnicodeDecodeError as error:
        raise UserError(path, f"is not UTF-8 text: {error}", "save it as UTF-8") from None
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}", f"not a csv line: {error}", "is a quotation mark left open?") from None


def to_bytes(header: Sequence[str], lines: Iterable[Sequence[object]]) -> bytes:
    """Return a table as the bytes of its file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(itertools.chain([header], lines))
    return text.getvalue().encode()
