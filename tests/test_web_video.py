"""The page of a video, in a browser."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from browser import EVIL, Look, Site, browser, filmed, filmed_own, is_as_wide_as_its_window, look, site, until, violations

__all__ = ["browser", "filmed", "filmed_own", "look", "site"]  # fixtures
PLAYS = "document.querySelector('video')?.readyState >= 2 && !document.querySelector('video').seeking"
NOW = "document.querySelector('video').currentTime"


def video_of(site: Site, title: str) -> str:
    (found,) = [card.video.id for card in site.service.db.videos()[0] if card.title == title]
    return found


def watch(look: Look, site: Site, title: str, query: str = "", **options: object) -> Page:
    page = look(site, f"/videos/{video_of(site, title)}{query}", **options)
    page.wait_for_selector("#video[aria-busy=false]")
    return page


def test_a_link_leads_to_the_moment_and_everything_follows_the_player(site: Site, look: Look) -> None:
    page = watch(look, site, "long.mp4", "?t=11&q=blue")
    until(page, PLAYS)
    assert page.evaluate(NOW) >= 11 - 0.05
    expect(page.locator("#segments [aria-current]")).to_contain_text("0:10")
    best = page.locator("#timeline .moment.best").last
    expect(best).to_have_text("Best moment at 0:15")
    best.click()
    until(page, f"{NOW} >= 15 && {NOW} < 17 && {PLAYS}")
    expect(page.locator("#segments [aria-current]")).to_contain_text("0:15")
    page.keyboard.press("k")
    until(page, "document.querySelector('video').paused")
    heat = page.locator("#timeline .heat")
    box = heat.bounding_box()
    assert box is not None
    heat.click(position={"x": box["width"] * 0.3, "y": 10})
    until(page, f"{NOW} > 5 && {NOW} < 8")
    page.fill("#q", "red")
    page.press("#q", "Enter")
    expect(page.locator("#timeline .moment.best").last).to_have_text("Best moment at 0:05")
    assert "q=red" in page.url


def test_words_follow_are_found_and_are_links(site: Site, look: Look) -> None:
    page = watch(look, site, "long.mp4", "?q=goal")
    lines = page.locator("#words button")
    expect(lines).to_have_count(2)
    expect(lines.first.locator("mark")).to_have_text("goal")
    lines.nth(1).click()
    until(page, f"{NOW} >= 2 && {PLAYS}")
    expect(lines.nth(1)).to_have_attribute("aria-current", "true")
    page.fill("#words-filter", "GOAL")
    expect(lines).to_have_count(1)
    page.fill("#words-filter", "xyzzy")
    expect(page.locator(".words")).to_contain_text("No line has this in it")


def test_keys_drive_the_player(site: Site, look: Look) -> None:
    page = watch(look, site, "long.mp4")
    until(page, PLAYS)
    page.locator("#main").focus()
    for key, low, high in (("l", 10, 10), ("ArrowLeft", 9, 9), (".", 9.12, 9.13), (",", 9, 9), ("j", 0, 0), ("ArrowRight", 1, 1)):
        page.keyboard.press(key)
        assert low - 0.01 <= page.evaluate(NOW) <= high + 0.01, key
    page.keyboard.press(" ")
    until(page, f"!document.querySelector('video').paused && {NOW} > 1.1")
    page.keyboard.press(" ")
    page.keyboard.press("/")
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.type("k l")  # in a field they are letters
    assert page.evaluate("document.querySelector('video').paused")
    page.keyboard.press("Escape")
    page.locator("#main").focus()
    page.keyboard.press("?")
    keys = page.get_by_role("dialog", name="Keys")
    expect(keys).to_be_visible()
    beside = "list => list.children[0].getBoundingClientRect().right <= list.children[1].getBoundingClientRect().left"
    assert keys.locator("dl").evaluate(beside)  # a key, and what it does


def test_tags_are_given_and_taken(site: Site, look: Look) -> None:
    page = watch(look, site, "blue.mp4")
    page.fill("[aria-label='Add a tag']", "sea & sky")
    page.keyboard.press("Enter")
    expect(page.locator("#tags .chip")).to_have_text(["sea & sky"])
    page.reload()
    expect(page.locator("#tags .chip")).to_have_text(["sea & sky"])
    page.get_by_role("button", name="Take off the tag sea & sky").click()
    expect(page.locator("#tags")).to_contain_text("None yet")
    assert site.service.db.video(video_of(site, "blue.mp4")).tags == []


def test_facts_similar_link_and_clip(site: Site, look: Look, tmp_path: Path) -> None:
    page = watch(look, site, "long.mp4", "?q=grey")
    facts = page.locator("#facts")
    for fact in ("64 × 48", "h264", "toy-1", "20 s"):
        expect(facts).to_contain_text(fact)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("#timeline .moments .best").click()
    until(page, f"{NOW} >= 10 && {PLAYS}")
    page.keyboard.press("k")
    page.get_by_role("button", name="Copy link").click()
    expect(page.locator(".toast")).to_contain_text("clipboard")
    assert re.search(r"/videos/\w+\?t=1\d(\.\d)?&q=grey$", page.evaluate("navigator.clipboard.readText()"))
    page.get_by_role("button", name="Clip").click()
    expect(page.get_by_label("From")).to_have_value("0:10.0")
    page.get_by_label("To").fill("0:01")
    page.get_by_role("button", name="Download").click()
    expect(page.locator("dialog .wrong")).to_contain_text("first")
    page.get_by_label("To").fill("0:12")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download").click()
    saved.value.save_as(tmp_path / "clip.mp4")
    assert (tmp_path / "clip.mp4").read_bytes()[4:8] == b"ftyp"
    page.get_by_role("button", name="Find similar").click()
    page.wait_for_url("**/?like=s*")
    page.wait_for_selector("#results[aria-busy=false] .card[data-clip]")


def test_a_file_that_browsers_cannot_play_is_prepared_first(site: Site, look: Look) -> None:
    """The server's part is tested with the API; this is what the page makes of it."""
    page = look(site, "/library", allow=("409",))
    ready: list[bool] = []
    events = 'event: progress\ndata: {"id": 7, "state": "running", "progress": {"done": 1, "total": 4, "eta_seconds": 3}}\n\n'

    def stream(route: Route) -> None:
        if ready:
            route.continue_()
        else:
            route.fulfill(status=409, content_type="application/problem+json", json={"title": "x", "status": 409, "job": 7})

    def tell(route: Route) -> None:
        ready.append(True)
        end = 'event: end\ndata: {"id": 7, "state": "done", "ended_at": "2026-11-27T00:00:00Z"}\n\n'
        route.fulfill(status=200, content_type="text/event-stream", body=events + end)

    page.route("**/stream", stream)
    page.route("**/v1/jobs/7/events", lambda route: route.fulfill(status=200, content_type="text/event-stream", body=events))
    page.goto(f"{site.base}/videos/{video_of(site, 'red.mp4')}?t=1")
    expect(page.locator(".player-note")).to_contain_text("being prepared")
    expect(page.locator(".player-note")).to_contain_text("25 %")
    page.unroute("**/v1/jobs/7/events")
    page.route("**/v1/jobs/7/events", tell)
    page.reload()
    until(page, f"{PLAYS} && {NOW} >= 1")
    expect(page.locator(".player-note")).to_be_hidden()


def test_failed_and_missing_videos_say_why(site: Site, look: Look) -> None:
    page = watch(look, site, "broken.mp4")
    expect(page.locator("#stage .state")).to_contain_text("could not be indexed")
    reason = site.service.db.video(video_of(site, "broken.mp4")).video.error
    assert reason
    expect(page.locator("#stage .state")).to_contain_text(reason)
    expect(look(site, "/videos/none", allow=("404",)).locator(".state")).to_contain_text("no video")


def test_markup_stays_text(site: Site, look: Look) -> None:
    page = watch(look, site, f"{EVIL}.mp4", f"?q={EVIL.replace(' ', '+')}")
    expect(page.locator("#title")).to_have_text(f"{EVIL}.mp4")
    expect(page.locator("#tags .chip")).to_have_text([EVIL])
    expect(page.locator("#words button").first).to_contain_text(EVIL)
    assert page.locator("#main img[src=x]").count() == 0
    assert page.title() != "owned"


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (360, True)])
def test_the_page_is_for_everybody(site: Site, look: Look, width: int, dark: bool) -> None:
    page = watch(look, site, "long.mp4", "?q=goal", width=width, dark=dark)
    page.wait_for_selector("#timeline .moments")
    page.wait_for_selector("#words button")
    assert is_as_wide_as_its_window(page)
    assert violations(page) == []


def test_viewers_see_what_they_may_do(site: Site, look: Look) -> None:
    """What the server lets them do is tested with the API."""
    page = look(site, "/library")
    page.route("**/v1/me", lambda route: route.fulfill(json={"name": "guest <b>", "role": "viewer", "csrf_token": "x"}))
    page.goto(f"{site.base}/videos/{video_of(site, 'red.mp4')}")
    expect(page.locator("#tags .chip")).to_have_text(["beach"])
    assert page.locator("#tags button, #tags input").count() == 0
    expect(page.locator("#who")).to_contain_text("guest <b>")
    page.goto(f"{site.base}/?q=red")
    page.click("#saved-button")
    expect(page.locator("#saved-menu")).to_contain_text("Nothing is saved yet")
    assert page.locator("#saved-menu input").count() == 0
