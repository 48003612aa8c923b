"""Content understanding: label sets written in plain words, what they tag and why, and how people's answers refine them."""

from hit.tagging.apply import refresh

__all__ = ["refresh"]
