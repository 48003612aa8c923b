"""The API keeps what its document says, whatever it is asked: schemathesis makes the requests from the document."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events, from_schema
from schemathesis.python import asgi

from api_helpers import BASE
from hit.api import create_app
from hit.service import ServeConfig, Service
from toy import ToyEncoder


@pytest.fixture(scope="module")
def app(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    """Serve a library of its own, on which no jobs are done, to an administrator."""
    folder = shutil.copytree(made / "lib", tmp_path_factory.mktemp("contract") / "lib")
    yield create_app(Service(folder, ServeConfig(jobs=False), ToyEncoder()))
    asgi.shutdown_lifespans()


def complaints(app: FastAPI, most: int, **phases: bool) -> tuple[int, list[str]]:
    """Return how many requests were made, and one text for each that was not answered as the document says."""
    config = {
        "base-url": BASE,
        "generation": {"deterministic": True, "max-examples": most, "no-shrink": True, "database": "none"},
        "phases": {name: {"enabled": on} for name, on in phases.items()},
        # Of what the library alone can tell, well-formed requests are refused: an id that it has not, a filter that is none.
        "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", 400, 404, 409, 415]}},
    }
    schema = schemathesis.openapi.from_dict(app.openapi(), config=SchemathesisConfig.from_dict(config))
    schema.app = app
    made, found = 0, []
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            made += len(event.recorder.interactions)
            for case, nodes in event.recorder.checks.items():
                for node in nodes:
                    if node.status == Status.FAILURE:
                        failure = node.failure_info
                        found.append(f"{event.recorder.label} {node.name}: {failure.failure.title} {failure.failure.message}\n{failure.code_sample}")
        elif isinstance(event, events.NonFatalError | events.FatalError):
            found.append(f"{event}")
    return made, found


def test_answers_are_as_the_document_says(app: FastAPI) -> None:
    made, found = complaints(app, 5, examples=True, coverage=True, fuzzing=True, stateful=False)
    assert not found, "\n\n".join(found)
    assert made > 100
