"""The pages of labels, and of what is in a library, in a real browser: what they say is what the server does."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Request, expect

from browser import EVIL, Look, Site, browser, filmed, is_as_wide_as_its_window, look, serving, until, violations
from hit.tagging import apply as applying
from hit.tagging import labels as formats
from hit.tagging import sets
from toy import PLUGIN

__all__ = ["browser", "filmed", "look"]  # fixtures
JOB = 120_000  # milliseconds that a job's process may take on a busy machine
COLOURS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def site(filmed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Serve a copy of the library, with jobs. Each test has label sets of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLUGIN))
        with serving(shutil.copytree(filmed, tmp_path_factory.mktemp("tags") / "lib"), jobs=True) as served:
            yield served


def write(site: Site, name: str, percentile: float = 50.0, apply: bool = False) -> None:
    """Write a set of one label for each colour."""
    tables = [{"name": one, "group": "colour", "texts": [one], "rule": {"percentile": percentile}} for one in COLOURS]
    sets.save(site.service.library, name, formats.from_tables(tables), "test")
    if apply:
        applying.apply(site.service.library, name)


def ask(page: Page, path: str) -> Any:
    """Return what the API answers this page."""
    return page.evaluate("async path => (await fetch(path)).json()", path)


def tagged(site: Site, name: str) -> dict[str, int]:
    """Return how many videos each label of a set has tagged."""
    found = [label for label, _ in site.service.db.tagged_by(name)]
    return {label: found.count(label) for label in found}


def opened(look: Look, site: Site, path: str, **options: object) -> Page:
    page: Page = look(site, path, **options)
    page.wait_for_selector("main [aria-busy=false]")
    return page


def previewed(page: Page) -> dict[str, list[str]]:
    """Have the page say what would change: before, after, added and removed of each label."""
    page.get_by_role("button", name="Preview", exact=True).click()
    page.wait_for_selector("#difference table")
    rows = page.locator("#difference tr[data-label]")
    return {one.get_attribute("data-label") or "": one.locator("td").all_inner_texts() for one in rows.all()}


def test_a_set_is_written_previewed_applied_and_a_stricter_line_untags(look: Look, site: Site) -> None:
    page = opened(look, site, "/tags")
    page.get_by_role("button", name="New set").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("first")
    dialog.get_by_label("Labels, one a line").fill(f"colour/red: red; red red\n{EVIL}: grey")
    dialog.get_by_role("button", name="Write a draft").click()
    page.wait_for_url("**/tags/first")
    page.get_by_role("button", name="Edit red").click()
    dialog.get_by_label("How much").fill("40")
    dialog.get_by_label("But not, one a line").fill("green")
    dialog.get_by_role("button", name="Save as a draft").click()
    row = page.locator("tr[data-label=red]")
    expect(row).to_contain_text("Above 40 % of the background")
    expect(row).to_contain_text("red · red red but not green")
    assert page.locator("tr[data-label]").first.locator("th").inner_text() == EVIL
    told = previewed(page)
    assert int(told["red"][1]) > 1
    assert told["red"][2] == f"+{told['red'][1]}"
    assert page.locator("#difference .card").count() > 0
    assert tagged(site, "first") == {}
    applying.apply(site.service.library, "first")
    page.reload()
    assert tagged(site, "first") == {name: int(one[1]) for name, one in told.items()}
    expect(row.locator("td.number")).to_have_text(told["red"][1])
    page.get_by_role("link", name="red", exact=True).click()
    line = page.get_by_role("slider", name="Where the label begins")
    line.focus()
    page.keyboard.press("End")
    expect(page.locator("#count")).to_have_text("1")
    page.get_by_label("A label begins").select_option("score")
    page.get_by_role("button", name="Save as a draft").click()
    gone = int(told["red"][1]) - 1
    expect(dialog.locator("tr[data-label=red] td").last).to_have_text(f"−{gone}")
    assert tagged(site, "first")["red"] == gone + 1
    dialog.get_by_role("link", name="Go on to apply it").click()
    page.wait_for_url("**/tags/first")
    page.get_by_role("button", name="Apply version 2").click()
    expect(page.locator("#difference progress")).to_be_visible()
    expect(page.get_by_text("This version is in use.")).to_be_visible(timeout=JOB)
    assert tagged(site, "first")["red"] == 1
    assert (page.locator("main img[src=x]").count(), page.title()) == (0, "first · HiT")
    page.get_by_role("button", name="Version 1").click()
    page.wait_for_url("**/tags/first?version=1")
    expect(page.get_by_role("button", name="Apply version 1")).to_be_visible()
    page.get_by_role("button", name="Retire").click()
    dialog.get_by_role("button", name="Retire").click()
    expect(page.locator("#set .page-head")).to_contain_text("version 2")
    expect(page.locator("#set .page-head .badge")).to_have_text("Retired")
    assert tagged(site, "first") == {}


def test_the_line_counts_as_the_server_does_and_asks_only_when_it_rests(look: Look, site: Site) -> None:
    write(site, "lines")
    page = opened(look, site, "/tags/lines/red")
    asked: list[str] = []

    def note(request: Request) -> None:
        if "/labels/red" in request.url:
            asked.append(request.url)

    page.on("request", note)
    line = page.get_by_role("slider", name="Where the label begins")
    box = page.locator(".axis-plot").bounding_box()
    assert box is not None
    seen = []
    page.mouse.move(box["x"] + 5, box["y"] + 40)
    page.mouse.down()
    for part in (0.2, 0.4, 0.6, 0.8):
        page.mouse.move(box["x"] + box["width"] * part, box["y"] + 40, steps=4)
        seen.append(int(page.locator("#figures").get_attribute("data-videos") or ""))
    page.mouse.up()
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) > 1
    page.wait_for_selector("#clips:not(.stale)")
    until(page, "location.search.includes('threshold=')")
    assert len(asked) == 1
    expect(line).to_be_focused()
    for key in ("PageDown", "ArrowLeft", "Home", "End"):
        page.keyboard.press(key)
        page.wait_for_selector("#clips.stale", state="attached")
        page.wait_for_selector("#clips:not(.stale)")
        at = page.url.rpartition("threshold=")[2]
        server = ask(page, f"/v1/label-sets/lines/labels/red?threshold={at}")
        assert page.locator("#count").inner_text() == str(server["videos"])
        shown = page.locator("#above [data-segment], #below [data-segment]")
        wanted = [one["segment_id"] for one in (*server["above"], *server["below"])]
        assert [one.get_attribute("data-segment") for one in shown.all()] == wanted
    again = opened(look, site, page.url.removeprefix(site.base))
    assert again.locator("#count").inner_text() == "1"


def test_clips_are_answered_by_keys_and_the_label_learns(look: Look, site: Site) -> None:
    write(site, "taught")
    page = opened(look, site, "/tags/taught/red")
    answers = page.locator("#answers")
    cards = page.locator("#clips [data-segment]")
    page.keyboard.press("ArrowRight")
    expect(cards.first.locator(".card-open")).to_be_focused()
    page.keyboard.press("y")
    expect(answers).to_have_text("1 yes, 0 no")
    expect(cards.nth(1).locator(".card-open")).to_be_focused()
    page.keyboard.press("n")
    expect(answers).to_have_text("1 yes, 1 no")
    expect(page.locator("#figures")).to_contain_text("50 %")
    page.keyboard.press("u")
    expect(answers).to_have_text("1 yes, 0 no")
    expect(cards.nth(1).locator(".card-open")).to_be_focused()
    expect(page.locator("#figures")).to_contain_text("1 answer above the line")
    page.keyboard.press(" ")
    page.wait_for_selector("dialog video")
    page.keyboard.press("y")  # not of the page below
    page.keyboard.press("Escape")
    expect(cards.nth(1).locator(".card-open")).to_be_focused()
    cards.last.get_by_role("button", name="No").click()
    expect(answers).to_have_text("1 yes, 1 no")
    yes, no = (one.get_attribute("data-segment") for one in (cards.first, cards.last))
    page.get_by_role("button", name="Refit from answers").click()
    expect(page.get_by_role("dialog").locator("tr[data-label=red]")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#side")).to_contain_text("words and examples")
    label = ask(page, "/v1/label-sets/taught")["labels"][0]
    assert (label["kind"], label["examples_for"], label["examples_against"]) == ("probe", [yes], [no])
    page.get_by_role("button", name="Open an example").first.click()
    page.wait_for_url("**/videos/**")


def test_a_video_says_where_its_labels_are_and_is_made_an_example(look: Look, site: Site) -> None:
    write(site, "shown", apply=True)
    (video,) = [card.video.id for card in site.service.db.videos()[0] if card.title == "long.mp4"]
    page = look(site, f"/videos/{video}")
    own = page.locator("#tags .tag-form ~ #label-tags li[data-label=red]").first
    expect(own).to_be_visible()
    expect(page.locator("#tags .chip")).to_have_text(["beach"])
    page.get_by_role("button", name="Take off the tag green").click()
    expect(page.locator("#label-tags li[data-label=green]")).to_have_count(0)
    assert "green" not in ask(page, f"/v1/videos/{video}")["tags"]
    own.locator("button.moment").first.click()
    until(page, "document.querySelector('video').currentTime >= 5")  # it is red from 5 s on
    page.get_by_role("button", name="Use as example").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Set").select_option("shown")
    dialog.get_by_label("Label").select_option("blue")
    dialog.get_by_label("It does not").check()
    dialog.get_by_role("button", name="Add to a draft").click()
    expect(page.locator(".toast")).to_contain_text("Draft v2 of “shown” is written")
    (label,) = [one for one in ask(page, "/v1/label-sets/shown")["labels"] if one["name"] == "blue"]
    assert len(label["examples_against"]) == 1
    assert ask(page, f"/v1/segments/{label['examples_against'][0]}")["start"] >= 5
    page.goto(f"{site.base}/?q=red")
    page.locator("#grid .card").first.hover()
    page.get_by_role("button", name=re.compile("^Use .* as an example")).first.click()
    expect(dialog.get_by_label("Label")).to_contain_text("blue")


def test_files_of_labels_come_in_and_go_out(look: Look, site: Site, tmp_path: Path) -> None:
    file = tmp_path / "sky.csv"
    file.write_text(
        "name,group,text,exception,example_for,example_against,rule\nsky,place,blue,,,,percentile 80\nsky,,a sky,,,,\n"
    )
    page = opened(look, site, "/tags", allow=("400", "404"))
    page.get_by_label("A file of labels").set_input_files(file)
    page.get_by_role("dialog").get_by_role("button", name="Read it").click()
    page.wait_for_url("**/tags/sky")
    expect(page.locator("tr[data-label=sky]")).to_contain_text("blue · a sky")
    with page.expect_download() as got:
        page.get_by_role("link", name="toml").click()
    assert formats.from_toml(Path(got.value.path()).read_text()) == formats.from_csv(file.read_text())
    file.write_text("no,such\ncolumns,here\n")
    page.get_by_label("A file of labels").set_input_files(file)
    page.get_by_role("dialog").get_by_role("button", name="Read it").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("column")
    page.goto(f"{site.base}/tags/unknown")
    page.get_by_text("There is no such set").wait_for()
    page.get_by_label("Labels, one a line").fill("sea: blue")
    page.get_by_role("button", name="Write a draft").click()
    expect(page.locator("tr[data-label=sea]")).to_be_visible()


def test_what_is_in_the_library_is_grouped_and_named(look: Look, site: Site) -> None:
    write(site, "names")
    page = opened(look, site, "/explore?names=names&count=3")
    answer = ask(page, "/v1/clusters?count=3&label_set=names")
    expect(page.locator("li.group")).to_have_count(len(answer["clusters"]))
    assert page.locator("li.group h2").all_inner_texts() == [one["names"][0]["text"] for one in answer["clusters"]]
    assert page.locator("li.group .card").count() == sum(len(one["samples"]) for one in answer["clusters"])
    page.get_by_role("radio", name="Near-duplicates").click()
    page.wait_for_url("**/explore?view=duplicates")
    page.wait_for_selector("#found[aria-busy=false]")
    page.get_by_label("As similar as").fill("0.5")
    page.wait_for_url("**similarity=0.5")
    groups = ask(page, "/v1/duplicates?similarity=0.5")["groups"]
    expect(page.locator("li.group")).to_have_count(len(groups))
    page.go_back()
    page.go_back()
    expect(page.locator("li.group h2 a").first).to_be_visible()
    page.locator("li.group h2 a").first.click()
    page.wait_for_url("**/?q=**")


def test_viewers_look_and_change_nothing(look: Look, site: Site) -> None:
    """What the server lets them do is tested with the API."""
    write(site, "seen")
    page = look(site, "/library", allow=("404",))
    me = json.dumps({"name": "guest", "role": "viewer", "csrf_token": "x", "features": []})
    page.route("**/v1/me", lambda route: route.fulfill(body=me, content_type="application/json"))
    for path in ("/tags", "/tags/seen", "/tags/seen/red", "/explore", "/tags/nothing"):
        page.goto(f"{site.base}{path}")
        page.wait_for_selector("main [aria-busy=false]")
        assert page.locator("main input[type=file], main form.save-rule, main .answers, main textarea").count() == 0
        words = "New set|Import|Add a label|Edit .*|Preview|Apply .*|Retire|Refit .*|Save .*|Write .*"
        assert page.locator("#main").get_by_role("button", name=re.compile(f"^({words})$")).all_inner_texts() == [], path
    me = me.replace("viewer", "reviewer")
    page.goto(f"{site.base}/tags/seen/red")
    expect(page.locator("main .answers").first).to_be_visible()
    assert page.locator("main form.save-rule").count() == 0


@pytest.mark.parametrize("width", [360, 1280])
def test_pages_fit_a_phone_and_are_accessible(look: Look, site: Site, width: int) -> None:
    name = f"wide{width}"
    write(site, name)
    page = opened(look, site, "/tags", width=width, dark=width == 360)
    narrow = ("/tags", "/explore", "/explore?view=duplicates&similarity=0.5")
    for path in (f"/tags/{name}", f"/tags/{name}/red", *(narrow if width == 360 else ())):
        page.goto(f"{site.base}{path}")
        page.wait_for_selector("main [aria-busy=false]")
        if path == f"/tags/{name}":
            previewed(page)
        assert is_as_wide_as_its_window(page), path
        assert violations(page) == [], path
    page.goto(f"{site.base}/tags/{name}")
    page.get_by_role("button", name="Edit red").click()
    assert violations(page) == []
