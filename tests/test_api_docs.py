"""docs/api.md tells the truth: its routes are those of the program, its examples run, its errors look so."""

import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from api_helpers import client
from browser import Site, serving
from toy import COLOURS, PLUGIN

RUN = re.compile(r"<!-- run -->\n```(?P<language>\w+)\n(?P<text>.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs" / "api.md").read_text()


@pytest.fixture(scope="module")
def site(made: Path) -> Iterator[Site]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLUGIN))
        with serving(made / "lib") as opened:
            yield opened


def test_the_routes_are_current(root: Path, page: str) -> None:
    made = runpy.run_path(str(root / "docs" / "generate.py"))
    _, mark, routes = page.partition(made["MARK"])
    assert mark + routes == made["routes"](), "run `make docs`"


def test_links_within_the_page_lead_somewhere(page: str) -> None:
    heads = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in re.findall(r"^#+ (.*)$", page, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= heads


def test_its_examples_run(page: str, site: Site, tmp_path: Path) -> None:
    Image.new("RGB", (64, 48), COLOURS["red"]).save(tmp_path / "example.png")
    blocks = list(RUN.finditer(page))
    assert [block["language"] for block in blocks] == ["bash", "python", "bash", "python"]
    for block in blocks:
        text = block["text"].replace("http://127.0.0.1:8000", site.base)
        command = ["bash", "-euc", text] if block["language"] == "bash" else [sys.executable, "-c", text]
        environment = {**os.environ, "HIT_SERVER": site.base}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        if block["language"] == "bash":
            assert len(json.loads(done.stdout)["hits"]) == 2
        else:
            assert done.stdout.split()


def test_its_error_is_a_real_one(page: str, made: Path) -> None:
    [shown] = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    with client(made / "lib") as api:
        answer: Any = api.post("/v1/search", json={"query_text": "red", "filter": "dur>1"}).json()
    assert {**answer, "request_id": ""} == {**json.loads(shown), "request_id": ""}


def test_a_wrong_address_is_a_page_for_people_and_a_problem_for_programs(made: Path) -> None:
    with client(made / "lib") as api:
        person: dict[str, str] = {"Accept": "text/html,*/*;q=0.8"}
        for path, headers, kind in (
            ("/none", person, "text/html"),
            ("/none", {}, "application/problem"),
            ("/v1/none", person, "application/problem"),
        ):
            answer = api.get(path, headers=headers)
            assert answer.status_code == 404 and answer.headers["content-type"].startswith(kind)


def test_the_page_shows_every_route(made: Path) -> None:
    with client(made / "lib") as api:
        answer, document = api.get("/v1/docs"), api.get("/v1/openapi.json").json()
    assert (
        answer.headers["content-type"] == "text/html; charset=utf-8"
        and "script-src 'self'" in answer.headers["content-security-policy"]
    )
    for path, methods in document["paths"].items():
        for method in methods:
            assert f"<code>{method.upper()} {path}</code>" in answer.text
    assert "`" not in answer.text
    assert "style=" not in answer.text and "<script>" not in answer.text
