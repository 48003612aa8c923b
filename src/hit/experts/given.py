"""Features that another program made and `hit import` brought in."""

from hit.errors import UserError
from hit.types import Features, Media, Want


class Given:
    """Stands for features of width `dim`; `source` names what made them, for two sources may not mix in one model."""

    licence = "the source's"
    hint = "nothing: `hit import` lists it in a data set"

    def __init__(self, name: str = "given", *, dim: int, source: str) -> None:
        self.name, self.dim = name, dim
        self.identity = f"given/1 {source} dim={dim}"
        self.wants: tuple[Want, ...] = ()

    def extract(self, media: Media) -> Features | None:
        """Raise UserError: there is nothing here to look with."""
        why = "its features were imported and cannot be computed for new videos"
        raise UserError(f"expert '{self.name}'", why, "import theirs too, or train a model on experts that look at videos")
