"""What a library of so many segments, asked so often, takes in machines and money: arithmetic over unit costs that were measured.

python docs/costs.py [--core-hour 0.04] [--gib-month 0.023]

It prints the tables of docs/scale.md as they stand there (tests/test_docs.py compares). Every figure of UNIT has the command that
measured it, on two slow virtual cores: a newer core does more. Prices are assumptions, dollars of a large cloud; give yours.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

GB, MONTH, HOUR = 1e9, 30 * 86_400.0, 3_600.0
SIZES, RATES = (10**6, 10**8, 10**9), (1, 100, 10_000)
BUSY, FULL = 0.6, 0.7  # how much of its cores, and of its memory, a machine may use
CORES, MEMORY = 16, 64 * GB  # of a machine
PATIENCE = 1.0  # seconds for a query
DEADLINE = 30 * 24.0  # hours until a first index is to be whole


@dataclass(frozen=True)
class Unit:
    """What one thing costs. CPU seconds, bytes."""

    segments_an_hour: float = 450  # of video; docs/scale.md
    index_hour: float = (
        207  # CPU s an hour of video, 650 x 470, the demo's experts: `time hit index L ../shared/data/clips --workers 1`
    )
    array: float = 2_048  # bytes a segment, D = 512 numbers: benchmarks/library.py
    codes: float = 136  # of the local store: benchmarks/library.py
    database: float = 583  # benchmarks/library.py, SQLite
    thumbnail: float = 6_300  # the demo's library
    text: float = 1 / 240  # CPU s to embed a query among others: benchmarks/serve.py, encoder_qps
    answer: float = 0.025  # CPU s of a hybrid search beside text tower and scan: benchmarks/serve.py
    scan: float = 39e-9  # CPU s a segment, codes of the local store: benchmarks/search.py, cpu_ms at a million


UNIT = Unit()


@dataclass(frozen=True)
class Engine:
    """A vector store: CPU s of a query over so many segments, how that grows, and bytes of memory a segment."""

    name: str
    seconds: float
    rows: float
    linear: bool  # else it grows as the logarithm: an assumption, as is that graphs find as much among more
    memory: float
    one: bool = False  # whether one process looks at all rows, by all its cores

    def query(self, rows: float) -> float:
        """Return CPU s of a query over so many rows."""
        return self.seconds * (rows / self.rows if self.linear else math.log(rows) / math.log(self.rows))


# Milvus: benchmarks/milvus_search.py, 50,000 rows of width 256; a row of 512 numbers is twice the work of FLAT.
ENGINES = (
    Engine("local store", UNIT.scan * 1e6, 1e6, True, UNIT.codes, one=True),
    Engine("Milvus, FLAT", 2 * 0.016, 5e4, True, UNIT.array),
    Engine("Milvus, HNSW, `ef=1024`", 0.062, 5e4, False, UNIT.array + 256),
)


def indexing(core_hour: float) -> Iterator[list[str]]:
    """Yield the rows of the first table: to index so many segments once."""
    for size in SIZES:
        hours = size / UNIT.segments_an_hour
        cpu = hours * UNIT.index_hour / HOUR
        machines = math.ceil(cpu / (DEADLINE * CORES * BUSY))
        yield [_power(size), _count(hours), _count(cpu), _count(machines), _money(cpu * core_hour)]


def standing(gib_month: float) -> Iterator[list[str]]:
    """Yield the rows of the second: what lies there, and what that costs a month."""
    for size in SIZES:
        parts = [UNIT.array, UNIT.database, UNIT.thumbnail]
        total = sum(parts) * size
        yield [_power(size), *(_bytes(part * size) for part in parts), _bytes(total), _money(total / 2**30 * gib_month)]


def serving(core_hour: float) -> Iterator[list[str]]:
    """Yield the rows of the third: machines that answer so many queries a second, by each engine, and what is used up first."""
    for size in SIZES:
        for rate in RATES:
            front = math.ceil(rate * (UNIT.text + UNIT.answer) / (CORES * BUSY))
            yield [
                _power(size),
                _count(rate),
                _count(front),
                *(_store(engine, size, rate, front, core_hour) for engine in ENGINES),
            ]


def _store(engine: Engine, size: int, rate: int, front: int, core_hour: float) -> str:
    """Return machines of a store, dollars a month with those in front of it, and what is used up first."""
    waits = engine.query(size) / CORES
    if engine.linear and waits > PATIENCE and (engine.one or waits > PATIENCE * 10):
        return f"no: {_count(engine.query(size))} core seconds a query"
    by_cpu, by_memory = rate * engine.query(size) / (CORES * BUSY), size * engine.memory / (MEMORY * FULL)
    back = math.ceil(max(by_cpu, by_memory))
    first = "" if max(front, back) == 1 else ": answers" if front > back else ": scanning" if by_cpu >= by_memory else ": memory"
    return f"{_count(back)}, {_money((front + back) * CORES * core_hour * MONTH / HOUR)} ${first}"


def tables(core_hour: float = 0.04, gib_month: float = 0.023) -> str:
    """Return all three as Markdown."""
    stores = [f"{engine.name}: machines, all $ a month, first used up" for engine in ENGINES]
    return "\n\n".join(
        [
            _table(
                ["segments", "hours of video", "core hours", f"machines of {CORES} cores, for 30 days", "$"], indexing(core_hour)
            ),
            _table(["segments", "vectors", "database", "thumbnails", "all", "$ a month"], standing(gib_month)),
            _table(["segments", "queries a second", "machines that answer", *stores], serving(core_hour)),
        ]
    )


def _table(head: Sequence[str], rows: Iterator[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def _power(size: int) -> str:
    return f"10{str(round(math.log10(size))).translate(str.maketrans('0123456789', '⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def _count(value: float) -> str:
    return f"{value:,.0f}" if value < 1e4 else f"{float(f'{value:.2g}'):,.0f}"


def _money(value: float) -> str:
    return f"{value:,.2f}" if value < 10 else _count(value)


def _bytes(value: float) -> str:
    return f"{value / 1e12:,.1f} TB" if value >= 1e12 else f"{value / GB:,.1f} GB"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--core-hour", type=float, default=0.04, help="dollars for a core, and the memory that comes with it, an hour"
    )
    parser.add_argument("--gib-month", type=float, default=0.023, help="dollars for a GiB in an object store, a month")
    print(tables(**vars(parser.parse_args())))
