"""Write what can be told by the program itself: docs/cli.md and the second part of docs/api.md. `make docs`."""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import typer.main

from hit.api import create_app
from hit.cli import app
from hit.config import ExpertConfig
from hit.library import Library
from hit.service import ServeConfig, Service
from hit.types import Features, Floats

HEAD = """# Command line

Written by `make docs` from the commands themselves; a test compares the two.

What a user can mend is one line on stderr and exit code 2; `Ctrl-C` is exit code 130. Progress goes to stderr. With `--json` the
last line of stdout is one JSON object.
"""
MARK = "<!-- From here on written by `make docs` from the OpenAPI document; a test compares the two. -->\n"
IDS = {
    "video_id": "3f8a3f0d4ad70c11",
    "segment_id": "3f8a3f0d4ad70c11-0-5000",
    "evaluation_id": "1f0c9a",
    "name": "dogs",
    "number": "7",
    "q": "a%20dog",
    "start": "10",
    "end": "20",
    "label": "red",
    "before": "1",
    "after": "2",
    "batch": "b3f1",
}


def reference() -> str:
    """Return the whole page of the command line."""
    group: Any = typer.main.get_command(app)
    return "\n".join([HEAD, _section("hit", group), *_sections("hit", group)])


def _sections(name: str, group: Any) -> Iterator[str]:
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _sections(f"{name} {word}", command)
        else:
            yield _section(f"{name} {word}", command)


def _section(name: str, command: Any) -> str:
    context = command.context_class(command, info_name=name)
    usage = " ".join([name, *command.collect_usage_pieces(context)[1:]]).replace("{", "").replace("}", "")
    lines = [f"## `{usage}`", "", " ".join((command.help or "").split()), "", "| | |", "|---|---|"]
    for parameter in command.params:
        spelling, text = parameter.get_help_record(context)
        cells = (f"`{spelling}`", " ".join(text.split()))
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


class _Blank:
    """An encoder of a library that nobody searches."""

    id, revision, dim = "none", "none", 1
    parts: Mapping[str, slice] = {"all": slice(0, 1)}
    weights: Mapping[str, float] = {"all": 1.0}
    experts: Mapping[str, ExpertConfig] = {}
    identities: Mapping[str, str] = {}

    def embed_texts(self, texts: Sequence[str]) -> Floats:
        return np.ones((len(texts), 1), np.float32)

    def embed_clips(self, clips: Sequence[Mapping[str, Features]]) -> Floats:
        return np.ones((len(clips), 1), np.float32)


def openapi() -> dict[str, Any]:
    """Return the document of the API."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "lib")
        Library.create(path, encoder=_Blank()).close()
        with Service(path, ServeConfig(jobs=False), _Blank()) as service:
            found: dict[str, Any] = create_app(service).openapi()
            return found


def routes() -> str:
    """Return the second part of the page of the API."""
    document = openapi()
    lines = [MARK, "## Routes", ""]
    for tag in document["tags"]:
        lines += [f"### {tag['name'].capitalize()}", "", tag["description"], ""]
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if operation["tags"] == [tag["name"]]:
                    lines += _route(method.upper(), path, operation, document)
    lines += ["## Shapes", "", "Fields marked * are always there.", ""]
    for name, schema in document["components"]["schemas"].items():
        lines += [f"### {name}", "", _line(schema.get("description", "")), ""]
        if schema.get("properties"):
            must = schema.get("required", ())
            rows = [
                (f"`{key}`{'*' if key in must else ''}", _shape(one), _about(one)) for key, one in schema["properties"].items()
            ]
            lines += [*_table(("field", "is", ""), rows), ""]
    return "\n".join(lines)


def _route(method: str, path: str, operation: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[str]:
    role = f"Role: {operation['x-role']}." if operation["x-role"] else "For everybody."
    yield from (f"#### `{method} {path}`", "", _line(f"{operation['summary']}. {operation['description']} {role}"), "")
    rows = [
        (f"`{one['name']}`{'*' if one['required'] else ''}", one["in"], _shape(one["schema"]), _line(one["description"]))
        for one in operation.get("parameters", ())
    ]
    if rows:
        yield from (*_table(("parameter", "in", "is", ""), rows), "")
    bodies = operation.get("requestBody", {}).get("content", {})
    answers = [
        f"{status}: {_shape(body['schema']) if kind == 'application/json' else f'`{kind}`'}"
        for status, answer in operation["responses"].items()
        for kind, body in (answer.get("content") or {"": {}}).items()
        if status.startswith("2") and kind
    ]
    told = [f"Body (`{kind}`): {_shape(body['schema'])}." for kind, body in bodies.items()]
    told += (
        [f"Answer {'; '.join(answers)}."] if answers else ["The answer has no body."] if "204" in operation["responses"] else []
    )
    yield from (" ".join(told), "", "```bash", _curl(method, path, operation, bodies, document), "```", "")


def _curl(method: str, path: str, operation: Mapping[str, Any], bodies: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    for name, value in IDS.items():
        path = path.replace(f"{{{name}}}", value)
    wanted = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query" and one["required"]]
    query = "&".join(f"{name}={IDS[name]}" for name in wanted)
    words = ["curl", *(["-X", method] if method not in ("GET", "POST") or (method == "POST" and not bodies) else [])]
    words += ['-H "Authorization: Bearer $TOKEN"'] if operation["x-role"] else []
    json_body = bodies.get("application/json", {}).get("schema", {})
    if json_body:
        schema = document["components"]["schemas"].get(json_body.get("$ref", "").split("/")[-1], {})
        example = (schema.get("examples") or [{"token": "hit_..."}])[0]
        words += [f"--json '{json.dumps(example)}'"]
    elif "multipart/form-data" in bodies:
        words += ["-F file=@holiday.mp4"]
    return " ".join([*words, f"'http://127.0.0.1:8000{path}{'?' + query if query else ''}'"])


def _shape(schema: Mapping[str, Any]) -> str:
    """Return what a schema stands for, in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].split("/")[-1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_shape(one) for one in schema["anyOf"])
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        items = schema.get("items", {})
        return f"list{_bounds(schema, 'Items')} of {_shape(items)}" if items else f"list{_bounds(schema, 'Items')}"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_shape(schema['additionalProperties'])}"
    kind = schema.get("format") if schema.get("format") in ("date-time", "binary") else schema.get("type", "anything")
    if kind in ("integer", "number"):
        low, high = (schema.get(name, schema.get(f"exclusive{name.capitalize()}")) for name in ("minimum", "maximum"))
        return f"{kind}{'' if low is None else f' from {low:g}'}{'' if high is None else f' to {high:g}'}"
    return f"{kind}{_bounds(schema, 'Length')}"


def _bounds(schema: Mapping[str, Any], what: str) -> str:
    most = schema.get(f"max{what}")
    return "" if most is None else f" (up to {most:,})"


def _about(schema: Mapping[str, Any]) -> str:
    default = schema.get("default")
    said = "" if default is None or default == [] else f" `{json.dumps(default)}` unless said."
    return _line(schema.get("description", "") + said)


def _line(text: str) -> str:
    return " ".join(text.split())


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)


if __name__ == "__main__":
    page = Path(__file__).with_name("cli.md")
    page.write_text(reference())
    api = Path(__file__).with_name("api.md")
    api.write_text(api.read_text().partition(MARK)[0] + routes())
    print(f"wrote {page} and {api}")
