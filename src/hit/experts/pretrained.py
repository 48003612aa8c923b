"""Networks of `transformers` from a local folder: loaded safely and whole, named by their weights."""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hit.errors import UserError
from hit.hub import WEIGHTS, fetch, line, read_table

DTYPES = ("float32", "bfloat16", "float16")
LARGEST = 2**27  # pixels that a model may take at once: ten times what the largest of today do


def pinned(path: str, say: Callable[[str], None]) -> str:
    """Return the name by which `path` is the same model for good: a folder's absolute path, a hub id with its commit.

    What is not here yet is fetched, after `say` was told how much that is. Raises UserError where it cannot be had.
    """
    if (folder := Path(path).expanduser()).is_dir():
        return str(folder.resolve())
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import DryRunError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    name, _, revision = path.partition("@")
    wanted: Any = {"repo_id": name, "revision": revision or None, "allow_patterns": list(WEIGHTS)}
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

    if dtype not in DTYPES:
        raise UserError(path, f"cannot be computed in '{dtype}'", f"dtype is one of {', '.join(DTYPES)}")
    if not any(folder.glob("*.safetensors")):
        fix = needs or "save it with save_pretrained(..., safe_serialization=True)"
        raise UserError(path, "has no weights in safetensors form", fix)
    try:
        with quiet(), _no_larger(folder):
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


@contextmanager
def _no_larger(folder: Path) -> Iterator[None]:
    """Raise ValueError where config.json asks for a far larger model than the safetensors of its folder hold.

    transformers sets no bounds: it would add layer to layer, or give each place of a vast picture its own row, without end.
    """
    from safetensors import safe_open
    from torch.nn.modules.module import register_module_parameter_registration_hook

    tensors = numbers = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "np") as file:
            shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118 it is no mapping
        tensors, numbers = tensors + len(shapes), numbers + sum(map(math.prod, shapes))
    _check_sizes(read_table(folder / "config.json"), tensors)
    left = [2 * tensors + 1_000, 2 * numbers + 10_000_000]  # room for poolers and other parts that files may lack

    def count(_module: Any, _name: str, parameter: Any) -> None:
        if parameter is None or not parameter.is_meta:
            return
        left[0], left[1] = left[0] - 1, left[1] - parameter.numel()
        if min(left) < 0:
            raise ValueError(f"config.json asks for a far larger model than the {numbers} weights that its files hold")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def _check_sizes(config: Mapping[str, Any], tensors: int) -> None:
    """Raise ValueError for what costs time or memory before the first weight is made: layers, and places in pictures."""
    sizes = {key: max(_integers(value), default=0) for key, value in config.items()}
    if layers := [key for key, size in sizes.items() if key.endswith("layers") and size > tensors + 100]:
        raise ValueError(f"config.json asks for {sizes[layers[0]]} as {layers[0]}, and its files hold {tensors} tensors")
    side = max(sizes.get(key, 1) for key in ("image_size", "crop_size"))
    frames = max(sizes.get(key, 1) for key in ("num_frames", "frames_per_clip"))
    if side**2 * frames > LARGEST:
        raise ValueError(f"config.json asks for {frames} frames of {side} x {side} pixels at once")
    for part in config.values():
        if isinstance(part, dict):
            _check_sizes(part, tensors)


def _integers(value: Any) -> list[int]:
    return [number for number in (value if isinstance(value, list) else [value]) if isinstance(number, int)]


def fingerprint(files: Iterable[Path]) -> str:
    """Return the sha256 of the contents of files, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(files):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


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
