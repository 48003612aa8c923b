"""Folders of models: where they are here, or fetched from the hub, and their JSON files."""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hit.errors import UserError

WEIGHTS = ("*.json", "*.safetensors")
COMMIT = 40  # hex digits


def fetch(path: str, patterns: Sequence[str] = WEIGHTS) -> Path:
    """Return the local folder of a model, fetching the files of `patterns` from the hub if need be.

    A hub id may name a commit, branch or tag: "owner/name@revision". Raises UserError where it cannot be had.
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
    wanted: Any = {"repo_id": name, "revision": revision or None, "allow_patterns": list(patterns)}
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


def read_table(file: Path) -> dict[str, Any]:
    """Return one of a model's JSON files. Raises UserError where it is none: of that, transformers complains in many ways."""
    try:
        table = json.loads(file.read_text())
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(file, f"is not JSON: {line(error)}", "fetch the model again") from None
    if not isinstance(table, dict):
        raise UserError(file, "is not a table", "fetch the model again")
    return table


def line(error: Exception) -> str:
    """Return what an exception of another library says, on one line of no great length."""
    return " ".join(str(error).split())[:200] or type(error).__name__
