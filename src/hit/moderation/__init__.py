"""Policies written in plain words: what they would do, what they do, and whom they tell."""

from hit.moderation.verdicts import judge

__all__ = ["judge"]
