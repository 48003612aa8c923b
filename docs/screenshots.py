"""Write docs/images/web-*.png: every page of the web application, as Chromium shows it over a library that is served for it.

python docs/screenshots.py [LIB] [--query TEXT] [--out FOLDER]; `make screenshots` does so for the demo's library.
"""

import argparse
import json
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
QUERY = "a huge stripy orange cross gliding right"
WITHIN = "somebody walks away"  # asked of the longest video


@contextmanager
def served(library: Path) -> Iterator[str]:
    """Run `hit serve` at a free port."""
    command = [sys.executable, "-m", "hit", "serve", str(library), "jobs=false", "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603 (our own words)
        try:
            assert server.stdout is not None
            line = server.stdout.readline()  # it comes when requests are answered
            if not line:
                raise SystemExit(f"{library} could not be served")
            yield json.loads(line)["url"].rstrip("/")
        finally:
            server.terminate()


def ask(base: str, path: str) -> Any:
    """Return what the API answers."""
    with urllib.request.urlopen(base + path, timeout=60) as answer:  # noqa: S310 (our own server)
        return json.load(answer)


def shoot(browser: Browser, url: str, target: Path, *, width: int = 1280, dark: bool = False, hover: str = "") -> None:
    """Write what a window shows of a page, once all of it is there; `hover`: where the pointer is."""
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme="dark" if dark else "light")
    page = context.new_page()
    page.goto(url)
    page.wait_for_load_state("networkidle")
    if hover and page.locator(hover).count():
        page.locator(hover).first.hover(position={"x": 180, "y": 60})
        page.wait_for_load_state("networkidle")
    page.evaluate("document.fonts.ready")
    page.wait_for_timeout(500)  # transitions end
    page.screenshot(path=target)
    context.close()
    with Image.open(target) as image:
        image.convert("RGB").save(target, optimize=True)
    print(f"{target}: {target.stat().st_size / 1000:.0f} kB")


def main() -> None:
    """Read the command line and write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library", nargs="?", type=Path, default=ROOT / "demo-out" / "library")
    parser.add_argument("--query", default=QUERY)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    given = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("no Chromium: apt install chromium")
    given.out.mkdir(parents=True, exist_ok=True)
    query = urllib.parse.urlencode({"q": given.query})
    with served(given.library) as base, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        first = ask(base, f"/v1/search?limit=1&{query}")["hits"][0]
        longest = ask(base, "/v1/videos?sort=duration&limit=1")["videos"][0]
        pages: list[tuple[str, str, dict[str, Any]]] = [
            ("start", "/", {}),
            ("search", f"/?{query}", {"hover": "#grid .thumb"}),
            ("search-dark", f"/?{query}&group=video", {"dark": True}),
            ("phone", f"/?{query}", {"width": 360}),
            ("video", f"{longest['page_url']}?{urllib.parse.urlencode({'q': WITHIN})}", {}),
            ("video-dark", f"{first['page_url']}&{query}", {"dark": True}),
            ("library", "/library", {}),
            ("evaluations", "/evaluations", {}),
        ]
        if some := ask(base, "/v1/label-sets")["label_sets"]:
            name = urllib.parse.quote(max(some, key=lambda one: one["tagged"])["name"])
            labels = ask(base, f"/v1/label-sets/{name}")["labels"]
            label = urllib.parse.quote(max(labels, key=lambda one: one["tagged"])["name"])
            pages += [("tags", f"/tags/{name}", {}), ("threshold", f"/tags/{name}/{label}", {})]
        pages.append(("explore", "/explore", {}))
        if reports := ask(base, "/v1/evaluations")["evaluations"]:
            pages.append(("evaluation", f"/evaluations/{reports[0]['id']}", {}))
        for name, path, how in pages:
            shoot(browser, base + path, given.out / f"web-{name}.png", **how)
        browser.close()


if __name__ == "__main__":
    main()
