"""Policies and their verdicts, hashes of frames, the bank of what is known to be bad, and webhooks on their way."""

from hit.db.session import Sessions


class PolicyRecords(Sessions):
    """The part of a Database that holds them."""
