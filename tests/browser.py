"""A real browser at a real server, and what every page is held to: no error on the console, nothing from elsewhere, no 5xx."""

import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from hit.api import create_app
from hit.db import Segment
from hit.db.schema import Line
from hit.library import Library
from hit.service import ServeConfig, Service
from library_helpers import good_videos
from toy import PLUGIN, ToyEncoder, render

EVIL = "<img src=x onerror=document.title='owned'>"
WAIT = 30_000  # milliseconds that a page may take on a busy machine
expect.set_options(timeout=WAIT)


@dataclass
class Site:
    """A library that is being served."""

    base: str
    service: Service


Look = Callable[..., Page]


@contextmanager
def serving(library: Path, **config: Any) -> Iterator[Site]:
    """Serve a library at a free port, by uvicorn in a thread."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        service = Service(library, ServeConfig(**{"jobs": False, "port": port, **config}), ToyEncoder())
        app = create_app(service)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started:
                thread.join(0.02)
                assert thread.is_alive(), "the server did not start"
            yield Site(f"http://127.0.0.1:{port}", service)
        finally:
            server.should_exit = True
            thread.join(30)


@pytest.fixture(scope="session")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a library with words, tags, a video that failed, and one that is called, tagged and told in markup."""
    folder = tmp_path_factory.mktemp("filmed")
    good_videos(folder / "v")
    render(folder / "v" / f"{EVIL}.mp4", ["grey", "green"])
    (folder / "v" / "broken.mp4").write_bytes(b"no video at all")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLUGIN))
        with Library.create(folder / "lib", encoder=ToyEncoder()) as library:
            library.index([folder / "v"], workers=1)
            videos = {card.title: card.video.id for card in library.db.videos()[0]}
            with library.db.write() as session:
                for title, texts in {
                    "long.mp4": ["here comes the goal", "what a save"],
                    f"{EVIL}.mp4": [EVIL, "a plain goal"],
                }.items():
                    segment = session.query(Segment).filter_by(video_id=videos[title]).order_by(Segment.start).first()
                    assert segment is not None
                    for number, text in enumerate(texts):
                        times = {"start": number * 2.0, "end": number * 2.0 + 1.5}
                        session.add(Line(segment_id=segment.id, number=number, expert="speech", text=text, **times))
            library.db.tag([videos[f"{EVIL}.mp4"]], [EVIL])  # which brings the words into the index, too
            library.db.tag([videos["long.mp4"], videos["red.mp4"]], ["beach"])
    return folder / "lib"


@pytest.fixture
def filmed_own(filmed: Path, tmp_path: Path) -> Path:
    """Return a copy of the library that a test may change."""
    return shutil.copytree(filmed, tmp_path / "lib")


@pytest.fixture(scope="module")
def site(filmed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Serve a copy of the library to the tests of a file, which leave it as it is or change what no other test looks at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLUGIN))  # what is uploaded is looked at
        with serving(shutil.copytree(filmed, tmp_path_factory.mktemp("site") / "lib")) as served:
            yield served


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium. Without one the test is skipped, and fails where HIT_REQUIRE_BROWSER is set."""
    path = shutil.which("chromium-headless-shell") or shutil.which("chromium")  # which draws its own window, too: twice the work
    if path is None:
        told = "no Chromium: apt install chromium-headless-shell"
        if os.environ.get("HIT_REQUIRE_BROWSER"):
            pytest.fail(told)
        pytest.skip(told)
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=path, args=[*root, "--disable-gpu", "--autoplay-policy=no-user-gesture-required"]
        )
        yield started
        started.close()


@pytest.fixture
def look(browser: Browser) -> Iterator[Look]:
    """Return what opens pages: look(site, "/", width=360, dark=True, allow=["409"]).

    After the test nothing may have been wrong with any of them; `allow` names what an expected complaint contains.
    """
    complaints: list[str] = []
    contexts = []

    def opened(site: Site, path: str = "/", *, width: int = 1280, dark: bool = False, allow: tuple[str, ...] = ()) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme="dark" if dark else "light", reduced_motion="reduce"
        )
        contexts.append(context)
        context.set_default_timeout(WAIT)
        page = context.new_page()

        def complain(text: str) -> None:
            if not any(word in text for word in allow):
                complaints.append(text)

        def heard(told: ConsoleMessage) -> None:
            if told.type in ("error", "warning"):
                complain(f"console: {told.text} {told.location}")

        page.on("console", heard)
        page.on("pageerror", lambda error: complain(f"page error: {error}"))
        page.on("response", lambda answer: complain(f"{answer.status} {answer.url}") if answer.status >= 500 else None)
        own = (site.base, "blob:", "data:")
        page.on("request", lambda asked: None if asked.url.startswith(own) else complain(f"a request to {asked.url}"))
        page.goto(site.base + path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == [], complaints  # said here, as pytest does not rewrite this file


def until(page: Page, expression: str) -> None:
    """Wait until something holds in a page. (Playwright's own way to do so is what the pages' policy forbids.)"""
    waiting = """wait => new Promise((resolve, reject) => {
        const end = performance.now() + wait;
        const look = () => (%s) ? resolve() : performance.now() > end ? reject(new Error("not so")) : setTimeout(look, 50);
        look();
    })"""
    page.evaluate(waiting % expression, WAIT)


def settled(page: Page) -> Page:
    """Wait until a search's results are on the page."""
    page.wait_for_selector("#results[aria-busy=false]")
    return page


def violations(page: Page) -> list[str]:
    """Return what axe-core finds to be seriously wrong."""
    found = Axe().run(page).response["violations"]
    grave = [one for one in found if one["impact"] in ("serious", "critical")]
    return [f"{one['id']}: {node['html'][:200]} ({node['failureSummary']})" for one in grave for node in one["nodes"]]


def is_as_wide_as_its_window(page: Page) -> bool:
    """Tell whether nothing has to be scrolled sideways."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))
