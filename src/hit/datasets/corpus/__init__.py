"""The demo corpus: short synthetic clips with captions, planned here and rendered by `hit demo`."""

from hit.datasets.corpus.plan import LEAST_CLIPS, Corpus, Pair, PlannedClip, plan

VERSION = 2  # raise it whenever the same seed would give other clips or captions

__all__ = ["LEAST_CLIPS", "VERSION", "Corpus", "Pair", "PlannedClip", "plan"]
