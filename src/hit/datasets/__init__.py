"""Data sets as tables: clips, captions, splits."""
