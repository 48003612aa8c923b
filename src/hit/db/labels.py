"""Label sets, what is tagged by them and why, and what people say of it."""

from hit.db.session import Sessions


class LabelRecords(Sessions):
    """The part of a Database that holds them."""
