"""Networks of `transformers` from a folder or the hub: whole, as safetensors, without a word on the terminal."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hit.errors import UserError


def locate(path: str) -> Path:
    """Return the local folder of a model: `path` itself, or, where it is a hub id, what is fetched from there once.

    Raises UserError where it cannot be had.
    """
    folder = Path(path).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_absolute() or path.startswith((".", "~")) or path.count("/") != 1:
        raise UserError(path, "there is no such folder", "give a folder in the form that transformers saves, or a hub id")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(snapshot_download(path, allow_patterns=["*.json", "*.safetensors"]))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled):
        offline = os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0")
        why = "is not in the hub's cache here, and " + ("HF_HUB_OFFLINE is set" if offline else "the hub cannot be reached")
        raise UserError(path, why, "fetch it where there is a network, then give its folder") from None
    except (HfHubHTTPError, HFValidationError) as error:
        raise UserError(path, f"is neither a folder nor a model on the hub: {line(error)}", "check its name") from None


def load(kind: str, folder: Path, needs: str) -> Any:
    """Return the model that `transformers.kind` makes of a folder, in float32, frozen; `needs` tells users what is expected.

    Raises UserError for a folder without safetensors, of another kind, damaged, or without some of the weights.
    """
    import torch
    import transformers
    from safetensors import SafetensorError

    if not any(folder.glob("*.safetensors")):
        raise UserError(folder, "has no weights in safetensors form", needs)
    try:
        with quiet():
            model, info = getattr(transformers, kind).from_pretrained(
                folder, trust_remote_code=False, use_safetensors=True, dtype=torch.float32, output_loading_info=True
            )
    except (OSError, ValueError, KeyError, RuntimeError, AssertionError, SafetensorError, ImportError) as error:
        raise UserError(folder, f"cannot be loaded: {line(error)}", needs) from error
    # What the file lacks has been made up at random: never to be used. Text encoders are often saved without a pooler.
    lacking = sorted(key for key in info["missing_keys"] if "pooler" not in key)
    if lacking:
        raise UserError(folder, f"lacks {len(lacking)} of the model's weights, such as {lacking[0]}", needs)
    return model.eval().requires_grad_(False)


def fingerprint(files: Iterable[Path]) -> str:
    """Return the sha256 of the contents of files, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(files):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def line(error: Exception) -> str:
    """Return what an error of a library says, as one line of bounded length."""
    return " ".join(str(error).split())[:200]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' warnings and progress bars off the terminal."""
    from transformers import utils as library

    logging: Any = library.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
