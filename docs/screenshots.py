"""Write docs/images/web-*.png: the pages of the web application, as Chromium shows them over a copy of a library.

In the copy a policy is enforced, if none was, and three people who do not exist have decided some of its cases.

python docs/screenshots.py [LIB] [--query TEXT] [--out FOLDER] [--only NAME...]; `make screenshots`: of the demo's library.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from hit import intake
from hit.db.decisions import Action, Ruling
from hit.library import Library
from hit.moderation import lifecycle

ROOT = Path(__file__).resolve().parent.parent
QUERY = "a huge stripy orange cross gliding right"
WITHIN = "somebody walks away"  # asked of the longest video
POLICY = {"texts": ["a red object that spins"], "review": {"percentile": 95}, "block": {"percentile": 99.5}, "severity": 4}
REASONS = {"pass": "It does not show what the policy means", "block": "It shows what the policy means"}


def reviewed(library: Path, folder: Path) -> Path:
    """Copy a library, and have people who do not exist review in the copy."""
    copy = Path(shutil.copytree(library, folder / "library"))
    with Library.open(copy) as opened:
        db = opened.db
        if not db.policies(states=["enforced"]):
            lifecycle.draft(opened, "spinning red", {**POLICY, "audit_share": 0.1, "reviewers": 2}, "Ada")
            lifecycle.enter(opened, "spinning red", "enforced", "Ada")
            intake.follow(opened)
        for number in range(33):
            name = ("Ada", "Bo", "Cem")[number % 3]
            seat = db.claim_seat(name)
            if seat is not None:
                action: Action = "pass" if db.case(seat.case_id).case.audit or number % 7 == 3 else "block"
                ruling = Ruling(action, REASONS[action], None, [], 6.0 + number * 5 % 17)
                db.decide_seat(seat.id, seat.claim or "", name, ruling)
    return copy


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


def shoot(
    browser: Browser,
    url: str,
    target: Path,
    *,
    width: int = 1280,
    dark: bool = False,
    hover: str = "",
    press: tuple[str, ...] = (),
) -> None:
    """Write what a window shows of a page, once all of it is there. hover: where the pointer is; press: what is clicked."""
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme="dark" if dark else "light")
    context.set_default_timeout(120_000)  # milliseconds: clusters take a while on a busy machine
    page = context.new_page()
    page.goto(url)
    page.wait_for_load_state("networkidle")
    if hover and page.locator(hover).count():
        page.locator(hover).first.hover(position={"x": 180, "y": 60})
        page.wait_for_load_state("networkidle")
    for one in press:
        page.locator(one).first.click()
        page.wait_for_selector("[aria-busy=true]", state="detached")
    page.evaluate("document.fonts.ready")
    page.wait_for_timeout(500)  # transitions end
    page.screenshot(path=target)
    page.goto("about:blank")  # what was claimed is given back
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
    parser.add_argument("--only", nargs="*", help="names of the pictures that are taken: all unless said")
    given = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("no Chromium: apt install chromium")
    given.out.mkdir(parents=True, exist_ok=True)
    query = urllib.parse.urlencode({"q": given.query})
    with (
        tempfile.TemporaryDirectory() as folder,
        served(reviewed(given.library, Path(folder))) as base,
        sync_playwright() as playwright,
    ):
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
        policy = next(one["name"] for one in ask(base, "/v1/policies")["policies"] if one["enforced_version"])
        clear = ("[data-wellness=blur]", "[data-wellness=grey]")
        pages += [
            ("explore", "/explore", {}),
            ("policy", f"/policies/{urllib.parse.quote(policy)}", {"press": (".edit-bar button",)}),
            ("review", "/review", {"press": ("#go", *clear, ".decision.block")}),
            ("dashboard", "/review/dashboard", {}),
        ]
        if reports := ask(base, "/v1/evaluations")["evaluations"]:
            pages.append(("evaluation", f"/evaluations/{reports[0]['id']}", {}))
        for name, path, how in pages:
            if given.only and name not in given.only:
                continue
            shoot(browser, base + path, given.out / f"web-{name}.png", **how)
        browser.close()


if __name__ == "__main__":
    main()
