"""The API keeps what its document says, whatever it is asked: schemathesis makes the requests from the document."""

import itertools
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from schemathesis.engine.recorder import CheckFailureInfo
from schemathesis.python import asgi
from starlette.testclient import TestClient

from api_helpers import BASE, client
from hit.api import create_app
from hit.service import ServeConfig, Service
from toy import ToyEncoder

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def app(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    """Serve a library of its own, on which no jobs are done, to whoever has a token."""
    folder = shutil.copytree(made / "lib", tmp_path_factory.mktemp("contract") / "lib")
    yield create_app(Service(folder, ServeConfig(jobs=False, auth="on"), ToyEncoder()))
    asgi.shutdown_lifespans()


def complaints(app: FastAPI, most: int, **phases: bool) -> tuple[int, list[str]]:
    """Return how many requests an administrator made, and one text for each that was not answered as the document says."""
    secret, _ = app.state.service.access.create(f"for {most}", "admin")
    config = {
        "base-url": BASE,
        "request-timeout": 120,  # seconds, on a busy machine
        "headers": {"Authorization": f"Bearer {secret}"},
        "generation": {"deterministic": True, "max-examples": most, "no-shrink": True, "database": "none"},
        "phases": {name: {"enabled": on} for name, on in phases.items()},
        "checks": {
            # Of what the library alone can tell, well-formed requests are refused: an id that it has not, a filter that is none.
            "positive_data_acceptance": {"expected-statuses": ["2xx", 400, 404, 409, 415]},
            "negative_data_rejection": {"expected-statuses": ["4xx"]},  # 413 too
        },
        "operations": [
            {"include-path": path, "checks": {"positive_data_acceptance": {"enabled": False}}}
            for path in ("/v1/login", "/v1/videos", "/v1/videos/{video_id}/clip")  # tokens, roots and stretches that are none
        ],
    }
    whole = schemathesis.openapi.from_dict(app.openapi(), config=SchemathesisConfig.from_dict(config))
    schema = whole.exclude(path="/v1/events")  # which does not end
    schema.app = app
    made, found = 0, []
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            made += len(event.recorder.interactions)
            nodes = itertools.chain.from_iterable(event.recorder.checks.values())
            found += [f"{event.recorder.label} {node.name}: {_told(node.failure_info)}" for node in nodes if node.failure_info]
        elif isinstance(event, events.NonFatalError):
            found.append(f"{event.label}: {event.value!r}")
        elif isinstance(event, events.FatalError):
            raise event.exception
    return made, found


def _told(info: CheckFailureInfo) -> str:
    return f"{info.failure.title} {info.failure.message}\n{info.code_sample}"


def test_the_document_is_whole(app: FastAPI) -> None:
    """Every operation has a name of its own, a role or none on purpose, and words for all that it takes."""
    document = app.openapi()
    operations = [(path, one) for path, item in document["paths"].items() for one in item.values()]
    names = [one["operationId"] for _, one in operations]
    assert len(set(names)) == len(names)
    assert {path for path, one in operations if one["x-role"] is None} == {"/livez", "/readyz", "/metrics", "/v1/login"}
    tags = [tag["name"] for tag in document["tags"]]
    for path, one in operations:
        assert one["summary"] and set(one["tags"]) <= set(tags), path
        for parameter in one.get("parameters", ()):
            assert parameter["description"], f"{path}: {parameter['name']}"
        for kind, body in one.get("requestBody", {}).get("content", {}).items():
            if kind == "application/json" and path != "/v1/login":  # where an example would be a secret
                assert document["components"]["schemas"][body["schema"]["$ref"].split("/")[-1]]["examples"], path
        assert "4XX" in one["responses"] and "5XX" in one["responses"]


def test_answers_are_as_the_document_says(app: FastAPI) -> None:
    made, found = complaints(app, 1, examples=True, coverage=True, fuzzing=True, stateful=False)
    assert not found, "\n\n".join(found)
    assert made > 500


HOSTILE = {
    "half a pair": r'"\ud800 red"',
    "zero": r'"red\u0000 \u202e\ufffe"',
    "markup": '"</script><img src=x onerror=alert(1)>"',
    "no number": "NaN",
    "endless": "-Infinity",
    "beyond floats": "1e400",
    "many digits": "9" * 5000,
    "deep list": "[" * 900 + "]" * 900,
    "too deep": "[" * 100_000,
    "deep filter": '{"and":[' * 300 + '{"field":"duration","gt":1e400}' + "]}" * 300,
    "half a pair in a filter": r'{"field": "name", "contains": "\ud800"}',
    "zero in a filter": r'{"field": "tag", "in": ["\u0000", "a\u0000"]}',
    "long": json.dumps("x" * 30_000),
    "long list": json.dumps(["red"] * 20_000),
    "another kind": '{"a": [null, true]}',
}


@pytest.fixture
def api(made: Path, tmp_path: Path) -> Iterator[TestClient]:
    with client(shutil.copytree(made / "lib", tmp_path / "lib")) as opened:
        yield opened


def test_whatever_stands_in_a_field_is_answered(api: TestClient) -> None:
    """Each field of each JSON body in turn is what no client of good will sends: 4xx, or an answer, but no defect."""
    document = api.get("/v1/openapi.json").json()
    shapes, asked = document["components"]["schemas"], 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            body = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if body is None or path == "/v1/login":
                continue
            shape = shapes[body["schema"]["$ref"].split("/")[-1]]
            for field, (name, value) in itertools.product(shape["properties"], HOSTILE.items()):
                told = {key: json.dumps(one) for key, one in shape["examples"][0].items()} | {field: value}
                content = "{" + ", ".join(f'"{key}": {one}' for key, one in told.items()) + "}"
                answer = api.request(method, path.replace("{", "").replace("}", ""), content=content.encode(), headers=JSON)
                assert sound(answer), (path, field, name, answer.text[:300])
                asked += 1
    assert asked > 300


@pytest.mark.parametrize(
    "value", ["%ED%A0%80", "a%00b", "%FF", "..%2f..%2fetc", "1e400", "nan", "-0", "9" * 400, "%0d%0aX-A:b", "x" * 5000]
)
def test_whatever_stands_in_an_address_is_answered(api: TestClient, value: str) -> None:
    document = api.get("/v1/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if path == "/v1/events":
                continue
            given = {one["in"]: one["name"] for one in operation.get("parameters", ())}
            names = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"]
            query = "&".join(f"{name}={value}" for name in names)
            if given:
                answer = api.request(method, f"{re.sub('{.*?}', value, path)}?{query}")
                assert sound(answer), (method, path, answer.text[:300])
                assert "x-a" not in answer.headers


def sound(answer: Any) -> bool:
    """Tell whether an answer is none of a defect, is a problem where it is an error, and is JSON that all can read."""
    kind = answer.headers.get("content-type", "")
    if kind in ("application/json", "application/problem+json"):
        json.loads(answer.text, parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))
    return bool(answer.status_code < 400) or (answer.status_code < 500 and kind == "application/problem+json")


@pytest.mark.slow
def test_answers_are_as_the_document_says_however_one_asks(app: FastAPI) -> None:
    made, found = complaints(app, 40, examples=True, coverage=True, fuzzing=True, stateful=True)
    assert not found, "\n\n".join(found)
    assert made > 2000
