"""How review goes: numbers with intervals, from the decisions that were made. The formulas are in docs/review.md."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np

from hit.db import Database, numbers
from hit.db.access import aware
from hit.db.numbers import Said

Key = tuple[str, int]  # a policy and its version


def stats(db: Database, policy: str | None = None, days: float | None = None) -> dict[str, Any]:
    """Return the numbers of a policy, or of all, over the last days, or over all time, as GET /v1/review/stats shows them."""
    now = db.clock.now()
    found = numbers.said(db, policy, None if days is None else now - timedelta(days=days))
    real = [one for one in found if one.golden is None]
    tests = [one for one in found if one.golden is not None]
    appeals = [one.kind for one in real if one.kind in ("uphold", "overturn")]
    audits = [one for one in real if one.audit and one.stands]
    waiting = db.waiting(policy)
    oldest = min((one.oldest for one in waiting if one.oldest), default=None)
    waits = [(aware(one.at) - aware(one.opened)).total_seconds() for one in real if one.stands]
    days_of = Counter(f"{aware(one.at):%Y-%m-%d}" for one in real)
    return {
        "decided": len(real),
        "per_day": [{"day": day, "decided": days_of[day]} for day in sorted(days_of)],
        "seconds": _spread([one.seconds for one in found if one.seconds is not None and one.batch is None]),
        "wait": _spread(waits),
        "queue": {
            "open": sum(one.open for one in waiting),
            "held": sum(one.held for one in waiting),
            "oldest_seconds": max(0.0, (now - oldest).total_seconds()) if oldest else None,
        },
        "agreement": agreement(_pairs(real)),
        "overturned": _named(share(appeals.count("overturn"), len(appeals)), "appeals", "overturned", "rate"),
        "golden": _named(share(sum(one.action == one.golden for one in tests), len(tests)), "seen", "right", "share"),
        "audit": {"seen": len(audits), "missed": sum(one.action == "block" for one in audits)},
        "policies": _policies(db, policy, [one for one in real if one.stands]),
        "reviewers": _reviewers(found),
    }


def share(hits: int, n: int) -> dict[str, Any]:
    """Return a share and its 95 % interval [Wilson 1927]; without any the estimate is None, and the interval all of 0 to 1."""
    from scipy.stats import binomtest  # late: it takes a second to load

    if not n:
        return {"estimate": None, "low": 0.0, "high": 1.0, "hits": 0, "n": 0}
    interval = binomtest(hits, n).proportion_ci(0.95, "wilson")
    return {"estimate": hits / n, "low": float(interval.low), "high": float(interval.high), "hits": hits, "n": n}


def agreement(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return Cohen's kappa of pairs of independent answers: None where there is no pair, or chance explains all of them."""
    from sklearn.metrics import cohen_kappa_score

    agreed = sum(one == other for one, other in pairs)
    kappa = None
    if len({answer for pair in pairs for answer in pair}) > 1:
        kappa = float(cohen_kappa_score([one for one, _ in pairs], [other for _, other in pairs]))
    return {"kappa": kappa, "pairs": len(pairs), "agreed": agreed}


def recall(flagged: dict[str, Any], asked: int, blocked: int, missed: dict[str, Any], passed: float) -> dict[str, Any]:
    """Return which share of what people would block the machine flags, from audits of what it passes.

    flagged: the share of blocks among what people decided of the `asked` cases; blocked: videos that it blocks unasked, taken to
    be right; missed: the share of blocks among audits of the `passed` videos. Its interval is that of both shares at once, at
    their worst and at their best, and so errs on the safe side.
    """
    result: dict[str, Any] = {"estimate": None, "low": 0.0, "high": 1.0, "n": missed["n"]}
    if not missed["n"] or not flagged["n"]:
        return result

    def ratio(right: float, wrong: float) -> float | None:
        caught, lost = right * asked + blocked, wrong * passed
        return caught / (caught + lost) if caught + lost else None

    low, high = ratio(flagged["low"], missed["high"]), ratio(flagged["high"], missed["low"])
    result["estimate"] = ratio(flagged["estimate"], missed["estimate"])
    result |= {"low": 0.0 if low is None else low, "high": 1.0 if high is None else high}
    return result


def _policies(db: Database, policy: str | None, final: Sequence[Said]) -> list[dict[str, Any]]:
    asked, verdicts, shares = numbers.flagged(db, policy), numbers.verdicts(db, policy), numbers.audit_shares(db)
    rows = []
    for key in sorted({(one.policy, one.version) for one in final}):
        own = [one for one in final if (one.policy, one.version) == key]
        flags = [one.action for one in own if not one.audit]
        audits = [one.action for one in own if one.audit]
        precision, missed = share(flags.count("block"), len(flags)), share(audits.count("block"), len(audits))
        said = verdicts.get(key, {})
        passed = said.get("pass") or (len(audits) / shares[key] if shares.get(key) else len(audits))
        found = recall(precision, asked.get(key, 0), said.get("block", 0), missed, passed)
        precision.pop("hits")
        rows.append({"policy": key[0], "version": key[1], "decided": len(own), "precision": precision, "recall": found})
    return rows


def _pairs(found: Sequence[Said]) -> list[tuple[str, str]]:
    """Return what two blind reviewers of one case said; a case that was opened again has another pair."""
    waiting: dict[int, tuple[str, str]] = {}
    pairs = []
    for one in found:
        if one.seat in ("first", "second"):
            seat, action = waiting.get(one.case, ("", ""))
            if seat and seat != one.seat:
                pairs.append((action, one.action) if seat == "first" else (one.action, action))
                del waiting[one.case]
            else:
                waiting[one.case] = one.seat, one.action
    return pairs


def _reviewers(found: Sequence[Said]) -> list[dict[str, Any]]:
    rows = []
    for name in sorted({one.reviewer for one in found if one.reviewer}):
        own = [one for one in found if one.reviewer == name]
        tests = [one.action == one.golden for one in own if one.golden is not None]
        times = [one.seconds for one in own if one.seconds is not None and one.batch is None]
        right = sum(tests) / len(tests) if tests else None
        rows.append({"name": name, "decided": len(own), "median_seconds": _spread(times)["median"], "golden_share": right})
    return rows


def _named(found: dict[str, Any], n: str, hits: str, estimate: str) -> dict[str, Any]:
    return {n: found["n"], hits: found["hits"], estimate: found["estimate"], "low": found["low"], "high": found["high"]}


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    if not values:
        return {"median": None, "p90": None}
    median, high = np.percentile(np.asarray(values, np.float64), (50, 90)).tolist()
    return {"median": median, "p90": high}
