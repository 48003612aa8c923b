"""HiT: find video by text and text by video, at two levels, with momentum contrast."""

__version__ = "0.1.0"
