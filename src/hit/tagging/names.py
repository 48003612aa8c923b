"""Names for clusters: the texts that set each one apart from the others."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from hit import embeddings
from hit.db import words
from hit.metrics import unroll, weighting
from hit.types import Encoder, Floats

NAMES = 3  # of a cluster, at most
_OWN = 200  # words, and tags, of the library's own that may be names
_COMMON = 0.3  # share of the segments from which on a word tells nothing
_EMBEDDED = 512  # at once
_PLAIN = """red, orange, yellow, green, blue, purple, pink, brown, black, white, grey, bright colours, a dark picture
circle, square, triangle, star, ring, cross, lines, dots, a pattern, text on the screen, a diagram, a map, a slide, a logo
growing, shrinking, spinning, bouncing, moving left, moving right, moving up, moving down, still, blinking, falling, shaking
music, singing, speech, silence, a beep, noise, applause, laughter, a siren, a drum, a guitar, a piano, birdsong, an engine
a person, a man, a woman, a child, a baby, a face, hands, two people, a group of people, a crowd, an audience, a portrait
talking to the camera, an interview, a meeting, a lecture, a news programme, a concert, a theatre, a party, a wedding
walking, running, jumping, dancing, swimming, climbing, sitting, sleeping, eating, drinking, cooking, reading, writing
working at a computer, playing a game, a video game, a screen recording, an animation, a cartoon, a drawing, a painting
football, basketball, tennis, skiing, cycling, boxing, golf, gymnastics, yoga, weight training, stretching, a race
a dog, a cat, a horse, a bird, a fish, an insect, a cow, a wild animal, a plant, flowers, a tree, a forest, a field
a mountain, a beach, the sea, a river, a lake, waves, snow, rain, clouds, the sky, sunset, night, fire, smoke, a storm
a city, a street, a building, a house, a bridge, a room, a kitchen, an office, a shop, a classroom, a hospital, a factory
a car, a lorry, a bus, a train, an aeroplane, a helicopter, a ship, a bicycle, a motorcycle, traffic, a road, a drone flight
food, fruit, vegetables, meat, bread, cake, coffee, a bottle, clothes, shoes, a phone, a camera, a tool, a machine, a toy
a book, a table, a chair, a bed, a window, a door, money, a flag, a weapon, an explosion, a fight, police, soldiers, medicine"""
PLAIN = tuple(text.strip() for line in _PLAIN.splitlines() for text in line.split(","))


def own(lines: Iterable[Sequence[str]], tags: Iterable[tuple[str, int]]) -> list[str]:
    """Return words of a library that may name a part of it: of each segment's lines, and tags with how many videos bear them.

    The most frequent ones that are neither said only once nor in very many of the segments that have lines.
    """
    counts: Counter[str] = Counter()
    spoken = 0
    for texts in lines:
        spoken += 1
        counts.update(words(" ".join(texts)))
    said = [(word, count) for word, count in counts.items() if 2 <= count <= max(2.0, _COMMON * spoken)]
    return [word for some in (tags, said) for word, _ in sorted(some, key=lambda pair: (-pair[1], pair[0]))[:_OWN]]


def embed(encoder: Encoder, phrases: Mapping[str, Sequence[str]]) -> Floats:
    """Return the names (T, dim) of these phrases, which are ways to say them, as queries bear the levels' weights."""
    texts, owner = unroll(list(phrases.values()))
    rows = np.concatenate([encoder.embed_texts(texts[i : i + _EMBEDDED]) for i in range(0, len(texts), _EMBEDDED)])
    found = np.array([embeddings.mean(rows[owner == i], encoder.parts) for i in range(len(phrases))], np.float32)
    return found * weighting(encoder.parts, encoder.weights, encoder.dim)


def choose(scores: Floats, texts: Sequence[str]) -> list[list[tuple[str, float]]]:
    """Return for each of k clusters its names, best first, of scores (k, T); no text names two of them.

    What counts is by how much a text fits a cluster better than it fits the mean cluster, as c-TF-IDF counts words [BERTopic]:
    what fits them all says nothing. First names are given so that their sum is the greatest, then second ones, and so on.
    """
    # Imported late: it takes a fifth of a second.
    from scipy.optimize import linear_sum_assignment

    apart = scores - scores.mean(axis=0) if len(scores) > 1 else scores
    left = np.arange(len(texts))
    found: list[list[tuple[str, float]]] = [[] for _ in scores]
    for turn in range(NAMES):
        if not len(left):
            break
        clusters, chosen = linear_sum_assignment(apart[:, left], maximize=True)
        for cluster, text in zip(clusters.tolist(), left[chosen].tolist(), strict=True):
            if not turn or (apart[cluster, text] > 0 and found[cluster]):
                found[cluster].append((texts[text], round(float(apart[cluster, text]), 4)))
        left = np.delete(left, chosen)
    return [sorted(own, key=lambda pair: -pair[1]) for own in found]
