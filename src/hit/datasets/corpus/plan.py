"""Which clips make up a corpus: splits by held-out combinations, and pairs that only order or colour tells apart."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random

from hit.datasets.corpus import grammar
from hit.datasets.corpus.scenes import COLOURS, MOTIONS, SHAPES, Combination, Facts, Scene, dice, draw_facts, stage

CAPTIONS = 4  # of each clip
LEAST_CLIPS = 12


@dataclass(frozen=True, slots=True)
class PlannedClip:
    """A clip to render: `video` is its path below the data set's folder."""

    video: str
    split: str
    scene: Scene
    captions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two clips that differ only in the order of their events, or only in who has which colour (`kind` order | colour)."""

    kind: str
    a: str
    b: str
    split: str


@dataclass(frozen=True, slots=True)
class Corpus:
    """A whole corpus on paper. `pairs` are those of val and test."""

    clips: tuple[PlannedClip, ...]
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class _Group:
    """One clip's facts, or those of the two clips of a pair."""

    facts: tuple[Facts, ...]
    kind: str = ""


@dataclass(frozen=True, slots=True)
class _Pools:
    """The combinations by where they may occur: anywhere, in test clips of one event, in test clips of two."""

    seen: tuple[Combination, ...]
    single: tuple[Combination, ...]
    double: tuple[Combination, ...]


def plan(clips: int, seed: int) -> Corpus:
    """Plan a corpus of `clips` clips: the same for the same arguments, quick, and without touching the disk."""
    pools = _hold_out(seed)
    test = max(4, round(0.15 * clips), min(200, clips // 6))
    val = max(1, round(clips / 16))
    splits = {
        "train": _seen_groups(dice(seed, "train"), clips - test - val, pools),
        "val": _seen_groups(dice(seed, "val"), val, pools),
        "test": _test_groups(dice(seed, "test"), test, pools),
    }
    planned: list[PlannedClip] = []
    pairs: list[Pair] = []
    for split, groups in splits.items():
        names = [f"videos/{split}/{number:05d}.mp4" for number in range(sum(len(group.facts) for group in groups))]
        dice(seed, split, "names").shuffle(names)  # so that neighbours in the folder have nothing in common
        unused = iter(names)
        for index, group in enumerate(groups):
            members = list(itertools.islice(unused, len(group.facts)))
            for name, facts in zip(members, group.facts, strict=True):
                captions = grammar.captions(facts, CAPTIONS, f"{seed}/{split}/{index}")
                planned.append(PlannedClip(name, split, stage(facts, dice(seed, name)), captions))
            if group.kind and split != "train":
                pairs.append(Pair(group.kind, members[0], members[1], split))
    return Corpus(tuple(sorted(planned, key=lambda clip: clip.video)), tuple(pairs))


def _hold_out(seed: int) -> _Pools:
    """Hold out about 18 % of the combinations, evenly over colours, shapes and motions and their couples.

    Those of one-event and of two-event test clips are kept apart, because "a red ball rises" is also true of a clip in
    which a red ball rises and then something else happens.
    """
    rng = dice(seed, "held out")
    axes = [rng.sample(axis, len(axis)) for axis in (COLOURS, SHAPES, MOTIONS)]
    residues: dict[int, list[Combination]] = {}
    for places in itertools.product(*(range(len(axis)) for axis in axes)):
        colour, shape, motion = (axis[place] for axis, place in zip(axes, places, strict=True))
        residues.setdefault(sum(places) % 11, []).append((colour, shape, motion))
    single, double = residues.pop(0), residues.pop(1)
    return _Pools(tuple(itertools.chain(*residues.values())), tuple(single), tuple(double))


def _seen_groups(rng: Random, count: int, pools: _Pools) -> list[_Group]:
    """Draw clips of seen combinations: three quarters with two events, nine in ten of these in pairs, much as in the test."""
    paired = round(count * 0.34)
    kinds = ["order", "colour"] * (paired // 2 + 1)
    groups = [_pair(rng, kind, pools.seen, pools.seen) for kind in kinds[:paired]]
    two = max(0, round(count * 0.75) - 2 * paired)
    groups += [_Group((draw_facts(rng, _two(rng, pools.seen)),)) for _ in range(two)]
    one = count - 2 * paired - two
    groups += [_Group((draw_facts(rng, [combination]),)) for combination in _cycle(rng, pools.seen, one)]
    return groups


def _test_groups(rng: Random, count: int, pools: _Pools) -> list[_Group]:
    """Draw clips each of which has a held-out combination: pairs of either kind, and one-event clips."""
    pairs = max(1, min(40, count // 5), count // 6)
    anywhere = pools.seen + pools.double
    groups: list[_Group] = []
    used: set[frozenset[Combination]] = set()
    kinds = itertools.cycle(("order", "colour"))
    while len(groups) < 2 * pairs:
        group = _pair(rng, next(kinds), anywhere, pools.double)
        signatures = {frozenset(event.combination for event in facts.events) for facts in group.facts}
        if not signatures & used:  # no two pairs of the same events: their captions would fit both
            used |= signatures
            groups.append(group)
        else:
            next(kinds)
    one = count - 4 * pairs
    return groups + [_Group((draw_facts(rng, [combination]),)) for combination in _cycle(rng, pools.single, one)]


def _cycle(rng: Random, pool: tuple[Combination, ...], count: int) -> Iterator[Combination]:
    """Yield `count` combinations, each as often as the others up to one."""
    shuffled = rng.sample(pool, len(pool))
    return itertools.islice(itertools.cycle(shuffled), count)


def _two(rng: Random, pool: tuple[Combination, ...]) -> list[Combination]:
    """Draw two combinations whose things can be told apart."""
    while True:
        first, second = rng.choice(pool), rng.choice(pool)
        if first[:2] != second[:2]:
            return [first, second]


def _pair(rng: Random, kind: str, pool: tuple[Combination, ...], needed: Iterable[Combination]) -> _Group:
    """Draw two clips of the same things, once with the order of events, once with the colours exchanged.

    All combinations come from `pool`, and each clip has at least one of `needed`.
    """
    allowed, needed = set(pool), set(needed)
    while True:
        combinations = [rng.choice(pool), rng.choice(pool)]
        rng.shuffle(combinations)
        a = draw_facts(rng, combinations)
        first, second = a.events
        if any(mine == other for mine, other in zip(first.combination, second.combination, strict=True)):
            continue
        if kind == "order":
            events = (second, first)
        else:
            swapped = (dataclasses.replace(first.thing, colour=second.thing.colour),
                       dataclasses.replace(second.thing, colour=first.thing.colour))  # fmt: skip
            events = (dataclasses.replace(first, thing=swapped[0]), dataclasses.replace(second, thing=swapped[1]))
        b = dataclasses.replace(a, events=events)
        met = [{event.combination for event in facts.events} for facts in (a, b)]
        if all(each <= allowed and each & needed for each in met):
            return _Group((a, b), kind)
