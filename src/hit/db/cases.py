"""Cases for review, the seats at them, and the chain of decisions."""

from hit.db.session import Sessions


class ReviewRecords(Sessions):
    """The part of a Database that holds them."""
