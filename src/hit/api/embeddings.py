"""/v1/embeddings in OpenAI's shape, and /v1/embed: the model's vectors, for other tools.

A vector is the model's parts side by side, each of unit length, or zero where the model found nothing for it. HiT's score of two
vectors is the sum over the parts of weight times inner product.
"""

import base64
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from hit import embeddings, examples
from hit.api.auth import Viewer
from hit.api.common import Served, parts_json, router
from hit.api.problems import Problem
from hit.api.schemas import Example, Given, Model, PartJson
from hit.api.search import likes
from hit.errors import UserError
from hit.search import Shelf
from hit.service import Service
from hit.types import Encoder, Floats

routes = router("embeddings", 404)
_LONG = Annotated[str, Field(max_length=20_000)]
_TEXTS = 256
_HOW = "The score of two vectors is the sum over the parts of weight times inner product of what lies in start:end."


class EmbeddingsRequest(Given):
    """Texts, as OpenAI's clients send them. What the model does not read of a long one is left out."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"input": ["a dog runs along the beach", "rain"]}]})
    input: _LONG | Annotated[list[_LONG], Field(min_length=1, max_length=_TEXTS)]
    model: Annotated[str, Field(max_length=200)] | None = Field(
        default=None, description="The id or the revision of the model; another one is refused."
    )
    encoding_format: Literal["float", "base64"] = Field(
        default="float", description="Numbers, or the bytes of 32-bit floats, least first, in base64."
    )
    dimensions: Annotated[int, Field(ge=1)] | None = Field(default=None, description="Can only be what the model has.")
    user: Annotated[str, Field(max_length=200)] | None = Field(default=None, description="Is not looked at.")


class Embedding(BaseModel):
    """The vector of the text of this index."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """How many tokens the model read; 0 where it does not count them."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsAnswer(BaseModel):
    """Vectors in the order of the texts."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class EmbedTexts(Given):
    """Texts to embed."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"texts": ["a dog runs along the beach"]}]})
    texts: Annotated[list[_LONG], Field(min_length=1, max_length=_TEXTS)]


class EmbedVideo(Example):
    """A video of the library, a stretch of it, or a segment."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"video_id": "3f8a3f0d4ad7", "start": 10, "end": 20}]})
    segments: bool = Field(default=False, description="Whether each segment's vector is wanted too.")


class Vectors(BaseModel):
    """Vectors, and how a score is made of two of them."""

    embeddings: list[list[float]]
    dim: int
    parts: dict[str, PartJson] = Field(description=_HOW)
    model: Model


class SegmentVector(BaseModel):
    """The vector of a segment."""

    id: str
    start: float
    end: float
    embedding: list[float]


class VideoVectors(BaseModel):
    """The vector that a search by this video uses: the mean of its segments', each part brought to unit length."""

    embedding: list[float]
    segments: list[SegmentVector] | None
    dim: int
    parts: dict[str, PartJson] = Field(description=_HOW)
    model: Model


@routes.post("/embeddings", response_model=EmbeddingsAnswer)
def openai_embeddings(asked: EmbeddingsRequest, served: Served, who: Viewer) -> dict[str, Any]:
    """Embed texts, in the shape of OpenAI's API: give its client this server's address with /v1 as `base_url`."""
    texts = [asked.input] if isinstance(asked.input, str) else asked.input
    encoder, rows = _embedded(texts, served)
    if asked.model not in (None, encoder.id, encoder.revision):
        raise Problem(404, f"model {asked.model}", "is not the one that is served", f"name {encoder.id}, or none")
    if asked.dimensions not in (None, encoder.dim):
        raise UserError("dimensions", f"{asked.dimensions} are not to be had", f"the model has {encoder.dim}")
    plain = asked.encoding_format == "float"
    count = getattr(encoder, "count_tokens", None)
    tokens = count(texts) if count else 0
    return {
        "data": [{"index": i, "embedding": row.tolist() if plain else _base64(row)} for i, row in enumerate(rows)],
        "model": encoder.id,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


@routes.post("/embed/text", response_model=Vectors)
def embed_text(asked: EmbedTexts, served: Served, who: Viewer) -> dict[str, Any]:
    """Embed texts."""
    encoder, rows = _embedded(asked.texts, served)
    return {"embeddings": rows.tolist(), **_about(encoder)}


@routes.post("/embed/video", response_model=VideoVectors)
def embed_video(asked: EmbedVideo, served: Served, who: Viewer) -> dict[str, Any]:
    """Return the vectors of a video of the library. Nothing is decoded: they are those that it is found by."""
    (like,) = likes([asked], served)

    def ask(shelf: Shelf) -> dict[str, Any]:
        segments, vectors = examples.chosen(shelf.db, shelf.stored, like)
        made = [
            {"id": one.id, "start": one.start, "end": one.end, "embedding": vector.tolist()}
            for one, vector in zip(segments, vectors, strict=True)
        ]
        mean = embeddings.mean(vectors, shelf.encoder.parts).tolist()
        return {"embedding": mean, "segments": made if asked.segments else None, **_about(shelf.encoder)}

    return served.library.asked(ask)


def _embedded(texts: list[str], served: Service) -> tuple[Encoder, Floats]:
    """Return vectors (N, dim), and the model that made them: that of the library as it is just now."""
    if any(not text.strip() for text in texts):
        raise UserError("a text", "is empty", "write what a video may show")
    return served.library.asked(lambda shelf: (shelf.encoder, shelf.encoder.embed_texts(texts)))


def _base64(row: Floats) -> str:
    return base64.b64encode(row.astype(np.dtype("<f4")).tobytes()).decode()


def _about(encoder: Encoder) -> dict[str, Any]:
    return {"dim": encoder.dim, "parts": parts_json(encoder), "model": {"id": encoder.id, "revision": encoder.revision}}
