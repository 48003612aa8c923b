"""`hit compare`: whether one run is better than another on the same queries, or only luckier."""

from pathlib import Path
from typing import Any

from hit import intervals
from hit.errors import UserError
from hit.measure import read_queries


def compare(first: Path, second: Path) -> dict[str, Any]:
    """Compare two files of `hit evaluate --queries`: {way: {level: {figure: {first, second, difference, low, high, p}}}}.

    Raises UserError if they are not of the same queries.
    """
    one, other = read_queries(first), read_queries(second)
    for way, outcomes in one.items():
        if outcomes.queries != other[way].queries:
            raise UserError(second, f"has other queries than {first}", "evaluate both models on the same split")
    return {
        "first": str(first),
        "second": str(second),
        **{
            way: {
                level: intervals.paired(pair, other[way].ranks[level], outcomes.groups())
                for level, pair in outcomes.ranks.items()
                if level in other[way].ranks
            }
            for way, outcomes in one.items()
        },
    }
