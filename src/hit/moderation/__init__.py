"""Policies written in plain words: what they would do, what they do, and whom they tell."""
