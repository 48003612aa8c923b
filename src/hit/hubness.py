"""Post-processing against hubs, items that are near to every query: rows of their own in a report, never the headline.

Both look at how an item scores with many queries: dual softmax at the other test queries, which a live search has not got;
query-bank normalisation at queries of training. Q queries, N items, d numbers each; queries bear the levels' weights.
"""

import numpy as np

from hit.metrics import Rescore, Values, blocks
from hit.types import Floats

BETA = 20.0  # QB-Norm's inverse temperature; it is also that of HiT's loss, 1 / 0.05


def dual_softmax(queries: Floats, items: Floats, beta: float = BETA) -> Rescore:
    """Return how to rescore these queries [CAMoE].

    s(q, i) becomes s(q, i) exp(beta s(q, i)) / sum over all queries p of exp(beta s(p, i)).
    """
    log_sum = log_partition(queries, items, beta)

    def rescore(scores: Floats) -> Values:
        double: Values = scores.astype(np.float64)
        return double * np.exp(beta * double - log_sum)

    return rescore


def query_bank(bank: Floats, items: Floats, beta: float = BETA) -> Rescore:
    """Return how to rescore any queries by a bank of others [QB-Norm, dynamic inverted softmax].

    A query whose first item is also the first one of some query in the bank is ranked by exp(beta s(q, i)) / sum over the
    bank of exp(beta s(b, i)), here by its logarithm; any other as it was.
    """
    log_sum = log_partition(bank, items, beta)
    hubs = np.zeros(len(items), np.bool_)
    for part in blocks(len(bank), len(items)):
        hubs[(bank[part] @ items.T).argmax(axis=1)] = True

    def rescore(scores: Floats) -> Values:
        found: Values = scores.astype(np.float64)
        rows = hubs[scores.argmax(axis=1)]
        found[rows] = beta * found[rows] - log_sum
        return found

    return rescore


def log_partition(queries: Floats, items: Floats, beta: float) -> Values:
    """Return log(sum over the queries of exp(beta q.i)) for each item (N,), some queries at a time."""
    total = np.full(len(items), -np.inf)
    for part in blocks(len(queries), len(items)):
        scores = beta * (queries[part] @ items.T).astype(np.float64)
        peak = scores.max(axis=0)
        total = np.logaddexp(total, peak + np.log(np.exp(scores - peak).sum(axis=0)))
    return total
