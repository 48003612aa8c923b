"""The house stands: a module imports from floors strictly below its own, and heavy packages keep to their rooms."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

# From the ground up; within a floor, a later line stands on the lines before it. A name is a module or a whole sub-package,
# and inside a sub-package anything goes.
FLOORS = [
    ("ground", "types errors"),
    ("ground", "config files"),
    ("ground", "arrays pages moments embeddings deployment"),
    ("tools", "hub traces"),
    ("tools", "logs"),
    ("tools", "objects"),
    ("tools", "chunks stock places shards models"),
    ("tools", "dist provenance tokens metrics text console pool video journal plots remote"),
    ("tools", "content features segments filters"),
    ("tools", "datasets experts db stores sources"),
    ("tools", "hubness logistic reliability intervals migrations watch splits overview settings"),
    ("tools", "analysis calibration pulse"),
    ("tools", "examples batching concept"),
    ("tools", "measure"),
    ("tools", "report confidence"),
    ("model", "layout heads"),
    ("model", "model"),
    ("model", "momentum encoder"),
    ("model", "checkpoint batches zeroshot"),
    ("model", "step"),
    ("model", "board"),
    ("verbs", "render extract importers train evaluate calibrate compare index search describe"),
    ("hall", "library"),
    ("hall", "upkeep trail"),
    ("hall", "tagging review"),
    ("hall", "moderation"),
    ("hall", "intake"),
    ("hall", "demo ablate jobs"),
    ("hall", "reproduce service"),
    ("hall", "doctor"),
    ("doors", "api"),
    ("doors", "door"),
    ("doors", "cli_data cli_explore cli_library cli_model cli_moderation cli_review cli_search cli_serve cli_tagging"),
    ("doors", "cli_bank"),
    ("doors", "cli"),
    ("gate", "__main__"),
]
ROOMS = {
    "torch": "dist experts.network experts.pretrained experts.sentences experts.whisper "
    "layout heads model momentum encoder checkpoint batches step board train",
    "transformers": "text model experts.pretrained experts.image_model experts.audio_model experts.whisper",
    "av": "video",
    "rapidocr": "experts.ocr",
    "cv2": "experts datasets",
    "faiss": "stores.codes",
    "scenedetect": "segments",
    "sklearn": "tagging review",
    "scipy": "concept tagging review",
    "imagehash": "moderation",
    "sqlalchemy": "db migrations",
    "alembic": "db migrations",
    "lark": "filters.lang",
    "rich": "console",
    "typer": "cli cli_bank cli_data cli_explore cli_library cli_model cli_moderation cli_review cli_search cli_serve cli_tagging"
    " door",
    "fastapi": "api",
    "starlette": "api",
    "pydantic": "api",
    "python_multipart": "api",
    "uvicorn": "api",
    "prometheus_client": "api",
    "matplotlib": "plots",
    "jinja2": "report api",
    "httpx2": "remote moderation.sending",
    "obstore": "remote objects",
    "ray": "pool.ray pool.nodes",
    "opentelemetry": "traces",
    "h5py": "importers.mmt",
    "onnxruntime": "experts.onnx_model",
    "pyarrow": "upkeep.export",
    "pymilvus": "stores.milvus",
    "grpc": "stores.milvus",
    "milvus_lite": "stores.lite",
}


def violations(package: Path) -> list[str]:
    """Return one line for each import under `package` that the plan of the house forbids."""
    level = {name: height for height, (_, names) in enumerate(FLOORS) for name in names.split()} | {"": -1}  # "": hit itself
    found = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        home = module.split(".")[0]
        if home not in level:
            found.append(f"{module}: not in the plan of the house")
            continue
        for line, name in _imports(ast.parse(path.read_text(), str(path))):
            root, _, rest = name.partition(".")
            target = rest.split(".")[0]
            where = f"hit.{module}:{line}"
            if root == "":
                found.append(f"{where}: relative import")
            elif root == "hit" and target not in ("", "__version__", home) and level.get(target, 99) >= level[home]:
                found.append(f"{where}: imports hit.{target}, which is not on a floor below")
            elif root in ROOMS and not any(f"{module}.".startswith(f"{room}.") for room in ROOMS[root].split()):
                found.append(f"{where}: imports {root}, whose rooms are {ROOMS[root]}")
    return found


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) of every import, lazy ones and those for type checkers too; relative ones begin with a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{'.' * node.level}{node.module or ''}.{alias.name}") for alias in node.names)


def test_the_house_stands(root: Path) -> None:
    assert violations(root / "src" / "hit") == []


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("types", "import hit.errors", "hit.errors, which is not on a floor below"),
        ("train", "from hit import evaluate", "hit.evaluate, which"),
        ("search", "from hit.library import Library", "hit.library, which"),
        ("metrics", "def f():\n    from hit import model", "hit.model, which"),
        ("config", "import typing\nif typing.TYPE_CHECKING:\n    from hit.video import Reader", "hit.video, which"),
        ("metrics", "from hit import no_such_module", "hit.no_such_module, which"),
        ("metrics", "from . import types", "relative import"),
        ("metrics", "from .types import Clip", "relative import"),
        ("experts.sound", "from hit.datasets import read", "hit.datasets, which"),
        ("search", "import torch.nn as nn", "imports torch"),
        ("extract", "from av.video import frame", "imports av"),
        ("experts.sound", "import torch", "imports torch"),
        ("cli", "from rich.table import Table", "imports rich"),
        ("helpers", "", "not in the plan"),
        ("sub.helpers", "", "not in the plan"),
        ("__init__", "from hit.types import Clip", "hit.types, which"),
    ],
)
def test_a_crack_is_seen(tmp_path: Path, module: str, source: str, complaint: str) -> None:
    _write(tmp_path, module, source)
    assert [line for line in violations(tmp_path) if complaint in line], violations(tmp_path)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("types", "import numpy as np\nimport typing"),
        ("train", "import torch\nfrom hit import config, model\nfrom hit.errors import UserError"),
        ("experts.sound", "import cv2\nfrom hit.experts.base import Base\nfrom hit.types import Clip"),
        ("experts.pretrained", "def f():\n    import torch, transformers"),
        ("cli", "import hit\nimport typer\nfrom hit import library"),
        ("__main__", "from hit.cli import main"),
        ("__init__", "import os"),
    ],
)
def test_a_sound_wall_is_left_alone(tmp_path: Path, module: str, source: str) -> None:
    _write(tmp_path, module, source)
    assert violations(tmp_path) == []


def _write(package: Path, module: str, source: str) -> None:
    path = package.joinpath(*module.split(".")).with_suffix(".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
