"""Words as vectors, for the experts that read or hear them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hit.experts import pretrained
from hit.experts.windows import in_batches
from hit.text import FILES, Tokenizer, locate
from hit.types import Features, Floats
from hit.video.subtitles import Cue

MAX_TOKENS = 256  # word pieces of one text that are looked at: as many as MiniLM was made for
BATCH = 32
NEEDS = "name a text encoder, saved with its weights as safetensors"


class Sentences:
    """Embeds texts by the mean of a text encoder's last hidden states [Sentence-BERT], brought to unit length.

    `source` is what `hit.text.locate` takes: "minilm" (384 numbers a text), a folder or a hub id. `identity` changes with the
    weights, the tokenizer and the configuration. Raises UserError for an encoder that is not there or does not load.
    """

    def __init__(self, source: str = "minilm") -> None:
        folder = locate(source)
        self._tokenizer = Tokenizer(folder, MAX_TOKENS)
        self._model: Any = pretrained.load(folder, folder, needs=NEEDS)[0]
        self.dim = int(self._model.config.hidden_size)
        self.identity = f"sentences/1 mean tokens={MAX_TOKENS} {pretrained.fingerprint(folder / name for name in FILES)}"

    def __call__(self, texts: Sequence[str]) -> Floats:
        """Return (n, dim), each row of unit length."""
        return in_batches(self._embed, self._tokenizer(texts), BATCH, self.dim)

    def features(self, cues: Sequence[Cue]) -> Features:
        """Return a row (dim,) a cue, with its times and its words."""
        times = np.array([(cue.start, cue.end) for cue in cues], np.float32).reshape(-1, 2)
        return Features(self([cue.text for cue in cues]), times, tuple(cue.text for cue in cues))

    def _embed(self, ids: Sequence[Any]) -> Floats:
        import torch

        longest = max(map(len, ids))
        padded = np.stack([np.pad(row, (0, longest - len(row))) for row in ids])  # (n, t)
        mask = np.stack([np.arange(longest) < len(row) for row in ids])  # (n, t)
        with torch.inference_mode():
            attention = torch.from_numpy(mask.astype(np.int64))
            hidden = self._model(input_ids=torch.from_numpy(padded), attention_mask=attention).last_hidden_state  # (n, t, dim)
            mean = (hidden * attention[..., None]).sum(1) / attention.sum(1, keepdim=True)  # (n, dim)
            rows: Floats = torch.nn.functional.normalize(mean, dim=1).numpy()
        return rows
