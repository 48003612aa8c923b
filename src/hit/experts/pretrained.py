"""Networks of `transformers` from a hub id or a local folder: found, loaded safely and whole, named by their weights."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hit.errors import UserError

FILES = ("*.json", "*.safetensors")  # all that is ever fetched
COMMIT = 40  # hex digits


def fetch(path: str) -> Path:
    """Return the local folder of a model, fetching it from the hub if need be. Raises UserError where it cannot be had.

    A hub id may name a commit, branch or tag: "owner/name@revision".
    """
    folder = Path(path).expanduser()
    if folder.is_dir():
        if (config := folder / "config.json").exists():  # what is missed first is the preprocessing, which says more
            read_table(config)
        return folder
    if folder.is_absolute() or path.startswith((".", "~")) or path.count("/") > 1:
        raise UserError(path, "there is no such folder", "give a folder in the form that transformers saves, or a hub id")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    name, _, revision = path.partition("@")
    wanted: Any = {"repo_id": name, "revision": revision or None, "allow_patterns": list(FILES)}
    try:
        if len(revision) == COMMIT:  # never another model: where it is here, nobody need be asked
            with suppress(LocalEntryNotFoundError):
                return Path(snapshot_download(**wanted, local_files_only=True))
        return Path(snapshot_download(**wanted))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled):
        offline = os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0")
        why = (
            "is not in the hub's cache here, and HF_HUB_OFFLINE is set"
            if offline
            else "is not here and the hub cannot be reached"
        )
        raise UserError(path, why, "fetch it where there is a network, then give its folder") from None
    except (HfHubHTTPError, HFValidationError) as error:
        raise UserError(path, f"is neither a folder nor a model on the hub: {line(error)}", "check its name") from None


def pinned(path: str, say: Callable[[str], None]) -> str:
    """Return the name by which `path` is the same model for good: a folder's absolute path, a hub id with its commit.

    What is not here yet is fetched, after `say` was told how much that is. Raises UserError where it cannot be had.
    """
    if (folder := Path(path).expanduser()).is_dir():
        return str(folder.resolve())
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import DryRunError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    name, _, revision = path.partition("@")
    wanted: Any = {"repo_id": name, "revision": revision or None, "allow_patterns": list(FILES)}
    try:
        folder = Path(snapshot_download(**wanted, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        with suppress(DryRunError, HfHubHTTPError, HFValidationError):  # `fetch` says what is wrong
            with quiet():
                files = snapshot_download(**wanted, dry_run=True)
            size = sum(file.file_size or 0 for file in files if file.will_download)
            say(f"fetching {path} from the hub, {size / 1e6:,.0f} MB; later runs find it in the hub's cache")
        folder = fetch(path)
    return f"{name}@{folder.name}"


def load(path: str | Path, folder: Path, kind: str = "AutoModel", dtype: str = "float32", needs: str = "") -> tuple[Any, bool]:
    """Return the frozen `transformers.kind` of a folder, and whether its pooler, if it has one, has real weights.

    `path` is what the user calls it, `needs` tells what is expected. Only safetensors are read and no code from the folder is
    run. Raises UserError where it cannot be loaded whole.
    """
    import torch
    import transformers

    if not any(folder.glob("*.safetensors")):
        fix = needs or "save it with save_pretrained(..., safe_serialization=True)"
        raise UserError(path, "has no weights in safetensors form", fix)
    try:
        with quiet():
            model, info = getattr(transformers, kind).from_pretrained(
                folder,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=getattr(torch, dtype),
                output_loading_info=True,
            )
    except Exception as error:  # whatever transformers makes of a stranger's folder is that folder's failing
        fix = needs or "see that the folder is whole and of a kind transformers knows"
        raise UserError(path, f"cannot be loaded: {line(error)}", fix) from error
    # What the file lacks has been made up at random: never to be used. Classifiers and text encoders come without a pooler.
    if lacking := sorted(key for key in info["missing_keys"] if "pooler" not in key):
        why = f"lacks {len(lacking)} of the model's weights, such as {lacking[0]}"
        raise UserError(path, why, needs or "the file is of another model")
    return model.eval().requires_grad_(False), not info["missing_keys"]


def fingerprint(files: Iterable[Path]) -> str:
    """Return the sha256 of the contents of files, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(files):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def line(error: Exception) -> str:
    """Return what an exception of another library says, on one line of no great length."""
    return " ".join(str(error).split())[:200] or type(error).__name__


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from writing its reports and progress bars between ours."""
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


def read_table(file: Path) -> dict[str, Any]:
    """Return one of a model's JSON files. Raises UserError where it is none: of that, transformers complains in many ways."""
    try:
        table = json.loads(file.read_text())
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(file, f"is not JSON: {line(error)}", "fetch the model again") from None
    if not isinstance(table, dict):
        raise UserError(file, "is not a table", "fetch the model again")
    return table
