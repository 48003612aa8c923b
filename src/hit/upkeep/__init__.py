"""Looking after a library: what it holds, whether that is sound, other stores, less room, backups, tables for others.

Whatever changes a library keeps other writers out, and is done so that a kill at any moment leaves what was before or what
comes after; the same call again then ends as if nothing had happened.
"""
