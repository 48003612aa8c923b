"""The search page, in a browser."""

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from browser import (
    EVIL,
    Look,
    Site,
    browser,
    filmed,
    filmed_own,
    is_as_wide_as_its_window,
    look,
    serving,
    settled,
    site,
    until,
    violations,
)
from hit.library import Library
from hit.types import Floats
from toy import ToyEncoder

__all__ = ["browser", "filmed", "filmed_own", "look", "site"]  # fixtures


def titles(page: Page) -> list[str]:
    return settled(page).locator("#grid .card-title").all_inner_texts()


def ask(page: Page, text: str) -> list[str]:
    page.fill("#q", text)
    page.press("#q", "Enter")
    page.wait_for_url(lambda url: parse_qs(urlsplit(url).query).get("q") == [text])
    return titles(page)


def test_search_finds_and_the_video_plays_at_the_moment(site: Site, look: Look) -> None:
    page = look(site)
    page.wait_for_selector("#grid .card img")  # what came last is there before anything is asked
    ask(page, "grey")
    card = page.locator("#grid .card", has=page.get_by_text("long.mp4", exact=True)).first
    expect(card.locator(".stamp")).to_have_text("0:10")
    card.locator(".card-open").click()
    page.wait_for_url("**/videos/*t=10*")
    until(page, "document.querySelector('video')?.readyState >= 2 && !document.querySelector('video').seeking")
    grey = """(() => {
      const video = document.querySelector("video"), canvas = document.createElement("canvas"), drawn = canvas.getContext("2d");
      drawn.drawImage(video, 0, 0);
      return drawn.getImageData(4, 44, 1, 1).data.slice(0, 3).every((part) => Math.abs(part - 120) < 40);
    })()"""
    until(page, grey)  # the picture at 10 s is, and is really drawn
    at, width = page.evaluate("[document.querySelector('video').currentTime, document.querySelector('video').videoWidth]")
    assert 9.9 <= at < 15
    assert width == 64


def test_moving_over_a_card_goes_through_its_video(site: Site, look: Look) -> None:
    page = look(site, "/?q=red")
    card = settled(page).locator("#grid .card", has=page.get_by_text("long.mp4", exact=True)).first
    sprite = card.locator(".sprite")
    places = []
    box = card.locator(".thumb").bounding_box()
    assert box is not None
    for part in (0.1, 0.9):
        page.mouse.move(box["x"] + box["width"] * part, box["y"] + box["height"] / 2)
        expect(sprite).to_be_visible()
        places.append((sprite.evaluate("one => one.style.backgroundPosition"), card.locator(".at").inner_text()))
    assert places[0] != places[1]
    assert "sprites.jpg" in sprite.evaluate("one => one.style.backgroundImage")
    page.mouse.move(1, 1)
    expect(sprite).to_be_hidden()
    card.locator(".card-open").focus()
    page.keyboard.press("Shift+ArrowRight")
    expect(sprite).to_be_visible()
    before = card.locator(".at").inner_text()
    page.keyboard.press("Shift+ArrowRight")
    expect(card.locator(".at")).not_to_have_text(before)


def test_escape_leaves_the_box_with_what_was_searched(site: Site, look: Look) -> None:
    page = look(site, "/?q=red")
    box = settled(page).locator("#q")
    box.fill("half a thou")
    box.press("Escape")
    expect(box).to_have_value("red")
    expect(box).not_to_be_focused()


def test_filters_are_chips_and_stand_in_the_address(site: Site, look: Look) -> None:
    page = look(site, "/?q=red", allow=("400",))
    assert len(titles(page)) > 2
    page.click("#filter-button")
    page.get_by_label("Sound").select_option("audio=yes")
    expect(page.locator("#chips .chip")).to_have_text("With sound")
    assert set(titles(page)) == {"blue.mp4"}
    assert "f=audio%3Dyes" in page.url
    page.get_by_role("button", name="Take out: With sound").click()
    expect(page.locator("#chips .chip")).to_have_count(0)
    page.click("#filter-button")
    page.locator("#filter-menu .chips button", has_text="beach").click()
    expect(page.locator("#chips .chip")).to_have_text("Tag: beach")
    until(page, "!document.querySelector('#grid').classList.contains('stale')")
    assert set(titles(page)) == {"long.mp4", "red.mp4"}
    page.click("#filter-button")
    page.fill("#filter-text", "dur>1")
    page.press("#filter-text", "Enter")
    wrong = page.locator("#filter-wrong")
    expect(wrong).to_contain_text("dur")
    expect(page.locator("#filter-text")).to_have_attribute("aria-invalid", "true")
    page.fill("#filter-text", "duration>10")
    page.press("#filter-text", "Enter")
    expect(page.locator("#chips .chip").nth(1)).to_have_text("duration>10")
    until(page, "document.querySelectorAll('#grid .card').length && !document.querySelector('#grid .state')")
    assert set(titles(page)) == {"long.mp4"}


def test_the_address_holds_everything_and_back_goes_back(site: Site, look: Look) -> None:
    page = look(site)
    first = ask(page, "red")
    page.click("#group button[value=video]")
    page.wait_for_url("**group=video*")
    settled(page)
    page.click("#exclude-button")
    page.fill("#exclude-menu input", "blue")
    page.press("#exclude-menu input", "Enter")
    expect(page.locator("#chips .chip.not")).to_have_text("Not: blue")
    address = page.url
    again = look(site, address.removeprefix(site.base))
    assert titles(again) == titles(page)
    expect(again.locator("#chips .chip.not")).to_have_text("Not: blue")
    expect(again.locator("#q")).to_have_value("red")
    page.go_back()
    expect(page.locator("#chips .chip.not")).to_have_count(0)
    page.go_back()
    expect(page.locator("#group button[value=clip]")).to_have_attribute("aria-checked", "true")
    until(page, "!document.querySelector('#grid').classList.contains('stale')")
    assert titles(page) == first
    page.go_forward()
    expect(page.locator("#group button[value=video]")).to_have_attribute("aria-checked", "true")


def test_videos_show_where_they_fit(site: Site, look: Look) -> None:
    page = look(site, "/?q=blue&group=video")
    card = settled(page).locator("#grid .card", has=page.get_by_text("long.mp4", exact=True))
    expect(card.locator(".moments a").first).to_have_text(re.compile("0:15$"))
    heat = card.locator(".heat")
    box = heat.bounding_box()
    assert box is not None
    heat.click(position={"x": box["width"] * 0.3, "y": 5})
    page.wait_for_url(re.compile(r"/videos/\w+\?t=(5|6)[\d.]*&q=blue"))


def test_similar_and_excluded_moments_are_chips(site: Site, look: Look) -> None:
    page = look(site, "/?q=green")
    card = settled(page).locator("#grid .card").first
    title = card.locator(".card-title").inner_text()
    card.hover()
    card.get_by_role("button", name="Find what is similar").click()
    expect(page.locator("#chips .chip.on")).to_have_text("Like this moment")
    until(page, "!document.querySelector('#grid').classList.contains('stale')")
    assert titles(page)[0] == title
    expect(page.locator("#chips .chip.on img")).to_have_attribute("src", re.compile("/v1/segments/.*/poster"))
    first = page.locator("#grid .card").first
    first.hover()
    first.get_by_role("button", name="Exclude").click()
    expect(page.locator("#chips .chip.not")).to_have_text("Not like this")
    assert "unlike=s%3A" in page.url


def test_the_keyboard_reaches_everything(site: Site, look: Look) -> None:
    page = look(site, "/?q=red")
    settled(page)
    page.locator("#main").focus()
    page.keyboard.press("/")
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.press("ArrowDown")
    cards = page.locator("#grid .card-open")
    expect(cards.nth(0)).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(cards.nth(1)).to_be_focused()
    page.keyboard.press("ArrowDown")
    across = page.evaluate("getComputedStyle(document.querySelector('#grid')).gridTemplateColumns.split(' ').length")
    expect(cards.nth(1 + across)).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press(" ")
    expect(page.locator("dialog video")).to_be_visible()
    until(page, "document.querySelector('dialog video').readyState >= 2")
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    expect(cards.nth(1)).to_be_focused()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    page.wait_for_url("**/videos/**")


class Sure:
    """A judge that is sure of what scores 1.9 and more."""

    threshold = 0.5

    def judge(self, query: Floats, scores: Floats, segments: int, way: str = "t2v") -> Floats:
        return np.where(scores >= 1.9, 0.9, 0.2).astype(np.float32)

    def normalise(self, query: Floats, scores: Floats, vectors: Floats) -> Floats:
        return scores


def test_confidence_is_told_in_words_above_the_line_and_below(site: Site, look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site.service.library, "_judge", Sure())
    page = settled(look(site, "/?q=red&mode=meaning"))
    order = page.locator("#grid > *").evaluate_all(
        """all => all.map(one => one.matches(".below") ? "|" : one.querySelector(".sure").firstElementChild.nextSibling.data)"""
    )
    line = order.index("|")
    assert set(order[:line]) == {"Very likely"}
    assert set(order[line + 1 :]) == {"Unlikely"}
    expect(page.locator(".below")).to_have_text("Below here we think nothing matches")
    told = page.locator(".sure").first.get_attribute("title") or ""
    assert re.fullmatch(r"Confidence 90 %; raw score \d\.\d{4}, rank 1", told)
    page = settled(look(site, "/?q=grey+blue+green&mode=meaning"))
    expect(page.locator("#notice")).to_contain_text("Nothing here seems to match")
    expect(page.locator(".below")).to_have_count(0)


def test_a_late_answer_of_an_earlier_search_is_dropped(site: Site, look: Look) -> None:
    page = look(site)
    page.evaluate("AbortController.prototype.abort = () => {}")  # it would not even arrive; but it may have, just before
    held: list[Route] = []
    page.route(
        "**/v1/search", lambda route: held.append(route) if '"red"' in (route.request.post_data or "") else route.continue_()
    )
    page.fill("#q", "red")
    with page.expect_request("**/v1/search"):
        page.press("#q", "Enter")
    right = ask(page, "green")
    assert right[0] == "green.mp4"
    with page.expect_response(lambda answer: '"red"' in (answer.request.post_data or "")) as late:
        for route in held:
            route.continue_()
    late.value.finished()
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert titles(page) == right


def test_more_comes_page_by_page(site: Site, look: Look) -> None:
    page = look(site)
    page.route(
        "**/v1/search",
        lambda route: route.continue_(post_data=(route.request.post_data or "").replace('"limit":24', '"limit":2')),
    )
    ask(page, "red")
    until(page, "document.querySelector('#more').hidden && document.querySelectorAll('#grid .card').length > 4")
    clips = page.locator("#grid .card").evaluate_all("all => all.map(one => one.dataset.clip)")
    assert len(set(clips)) == len(clips) == site.service.library.store.count()


def test_a_busy_server_is_asked_again_and_a_lost_one_is_told_of(site: Site, look: Look) -> None:
    page = look(site, allow=("429", "ERR_INTERNET_DISCONNECTED"))
    answers = iter([429, 429])

    def busy(route: Route) -> None:
        if (status := next(answers, None)) is None:
            route.continue_()
        else:
            route.fulfill(status=status, headers={"Retry-After": "0"}, json={"title": "busy", "status": 429})

    page.route("**/v1/search", busy)
    assert ask(page, "red")[0] == "red.mp4"
    page.unroute("**/v1/search")
    page.context.set_offline(True)
    page.fill("#q", "green")
    page.press("#q", "Enter")
    expect(page.locator("#grid .state.offline")).to_contain_text("You are offline")
    expect(page.locator("#offline")).to_be_visible()
    page.context.set_offline(False)  # and it goes on by itself
    expect(page.locator("#grid .card-title").first).to_have_text("green.mp4")


def test_nothing_found_and_nothing_there(site: Site, look: Look, filmed_own: Path, tmp_path: Path) -> None:
    page = settled(look(site, "/?q=red&f=duration%3E%3D3600"))
    expect(page.locator("#grid .state")).to_contain_text("No video goes through the filter")
    page.get_by_role("button", name="Search without filters").click()
    expect(page.locator("#grid .card").first).to_be_visible()
    expect(settled(look(site, "/?q=xyzzy&mode=words")).locator("#grid .state")).to_contain_text("Nothing was found")
    with Library.create(tmp_path / "empty", encoder=ToyEncoder()):
        pass
    with serving(tmp_path / "empty") as empty:
        for path in ("/", "/?q=red"):
            expect(look(empty, path, allow=("400",)).locator("#grid .state")).to_contain_text("The library is empty")


def test_a_search_is_saved_opened_and_deleted(site: Site, look: Look) -> None:
    page = look(site, "/?q=green&not=red&group=video&f=duration%3C60")
    before = titles(page)
    page.click("#saved-button")
    page.get_by_label("Save this search as").fill("Meadows 100 % <b>")
    page.keyboard.press("Enter")
    expect(page.locator(".toast")).to_contain_text("Saved as")
    other = look(site)
    other.click("#saved-button")
    other.locator("#saved-menu").get_by_role("button", name="Meadows 100 % <b>", exact=True).click()
    expect(other.locator("#q")).to_have_value("green")
    expect(other.locator("#chips .chip.not")).to_have_text("Not: red")
    other.wait_for_selector("#grid .heat, #grid .card[data-clip]")
    assert titles(other) == before
    other.click("#saved-button")
    other.get_by_role("button", name="Delete Meadows").click()
    other.get_by_role("button", name="Delete", exact=True).click()
    expect(other.locator(".toast")).to_contain_text("Deleted")
    other.click("#saved-button")
    expect(other.locator("#saved-menu")).to_contain_text("Nothing is saved yet")


def test_a_picture_is_a_query(site: Site, look: Look, tmp_path: Path) -> None:
    Image.new("RGB", (64, 48), (20, 200, 20)).save(tmp_path / "meadow.png")
    page = look(site)
    page.set_input_files("#file", tmp_path / "meadow.png")
    expect(page.locator("#chips .chip.on")).to_have_text("meadow.png")
    expect(page.locator("#grid .card[data-clip]").first).to_be_visible()
    assert "green.mp4" in titles(page)[:2]
    page.reload()
    expect(page.locator("#grid .state")).to_contain_text("The file is not here any more")


def test_a_dropped_picture_is_a_query(site: Site, look: Look, tmp_path: Path) -> None:
    Image.new("RGB", (64, 48), (220, 20, 20)).save(tmp_path / "rose.png")
    page = look(site)
    page.wait_for_selector("#grid .card img")
    page.evaluate(
        """bytes => {
          const carried = new DataTransfer();
          carried.items.add(new File([new Uint8Array(bytes)], "rose.png", { type: "image/png" }));
          const how = { bubbles: true, cancelable: true };
          const send = (kind) => document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: carried, ...how }));
          send("dragenter");
          send("dragover");
          window.shown = !document.querySelector("#drop").hidden;
          send("drop");
        }""",
        list((tmp_path / "rose.png").read_bytes()),
    )
    assert page.evaluate("window.shown")
    expect(page.locator("#grid .card[data-clip]").first).to_be_visible()
    assert "red.mp4" in titles(page)[:2]


def test_names_tags_and_words_stay_text(site: Site, look: Look) -> None:
    page = look(site, "/?q=goal&mode=words")
    assert f"{EVIL}.mp4" in titles(page)
    ask(page, EVIL)
    page.click("#filter-button")
    expect(page.locator("#filter-menu .chips button", has_text=EVIL)).to_be_visible()
    assert page.locator("#main img[src=x]").count() == 0
    assert "owned" not in page.title().removeprefix(EVIL)
    expect(page.locator(".said mark").first).to_be_visible()


@pytest.mark.parametrize("dark", [False, True])
def test_pages_are_for_everybody(site: Site, look: Look, dark: bool) -> None:
    page = look(site, dark=dark)
    page.wait_for_selector("#grid .card img")
    assert violations(page) == []
    page = settled(look(site, "/?q=goal&group=video&not=blue&f=duration%3C60", dark=dark))
    page.click("#filter-button")
    page.wait_for_selector("#filter-text")
    assert violations(page) == []
    assert (page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 20, 22)") is dark


def test_colours_are_chosen_and_kept(site: Site, look: Look) -> None:
    page = look(site)
    for wanted in ("light", "dark"):
        page.click("#theme")
        assert page.evaluate("document.documentElement.dataset.theme") == wanted
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 20, 22)"


@pytest.mark.parametrize("width", [360, 1920])
def test_no_window_is_too_narrow(site: Site, look: Look, width: int) -> None:
    page = look(
        site, "/?q=goal&group=video&not=a+long+text+that+is+left+out+of+everything+that+is+shown&f=tag%3Dbeach", width=width
    )
    settled(page)
    assert is_as_wide_as_its_window(page)
    page.click("#filter-button")
    page.wait_for_selector("#filter-text")
    assert is_as_wide_as_its_window(page)
    page.go_back()
    page = look(site, width=width)
    page.wait_for_selector("#grid .card img")
    assert is_as_wide_as_its_window(page)


def test_what_pages_count_with(site: Site, look: Look) -> None:
    page = look(site)
    found = page.evaluate(
        """async () => {
          const names = ["format", "query", "scrub", "filters", "evidence"];
          const [f, q, s, l, e] = await Promise.all(names.map((name) => import(`/static/js/${name}.js`)));
          const state = {
            texts: ["a & b", "ü"], like: ["s:x-1", "v:y@3-8.5"], upload: "", not: ["c=d"], unlike: ["v:z"],
            terms: ['tag="a b"'], filter: "x>1 or y<2", mode: "words", group: "video",
          };
          const cues = ["00:00.000 --> 01:01.500\\n/s.jpg#xywh=0,90,160,90", "01:00:00.000 --> 01:00:01.000\\nhttps://elsewhere/s.jpg#xywh=0,0,1,1"];
          const vtt = ["WEBVTT", ...cues].join("\\n\\n");
          return {
            times: [0, 5.04, 59.96, 61, 3723.4].map((one) => [f.time(one), f.time(one, 1), f.seconds(f.time(one, 1))]),
            wrong: ["", "a", "1:2:3:4", "-1"].map((one) => Number.isNaN(f.seconds(one))),
            bytes: [0, 999, 1000, 999_950, 1.5e9].map(f.bytes),
            words: [1, 0.8, 0.79, 0.5, 0.25, 0.1, null].map((one) => f.confidence(one)?.word ?? null),
            percent: [0, 0.004, 0.5, 0.996, 1].map(f.percent),
            state, again: q.fromAddress(q.toAddress(state).slice(1)),
            request: q.toRequest(state),
            back: q.fromRequest(q.toRequest(state)).like,
            quoted: ["a", "a b", 'a"b\\\\', "and"].map(q.quoted),
            cues: s.parse(vtt, new URL("http://here/v.vtt")),
            labels: ["duration<60", 'tag="a \\\\"b"', "added>=2026-11-01", "x>1 or tag=b"].map(l.label),
            marked: e.marked("Goals, and a goalkeeper", ["a goal"]).map((one) => one.textContent ?? one),
          };
        }"""
    )
    assert found["times"] == [
        ["0:00", "0:00.0", 0],
        ["0:05", "0:05.0", 5],
        ["1:00", "1:00.0", 60],
        ["1:01", "1:01.0", 61],
        ["1:02:03", "1:02:03.4", 3723.4],
    ]
    assert all(found["wrong"])
    assert found["bytes"] == ["0 B", "999 B", "1.0 kB", "1.0 MB", "1.5 GB"]
    assert found["words"] == ["Very likely", "Very likely", "Likely", "Likely", "Possible", "Unlikely", None]
    assert found["percent"] == ["0 %", "under 1 %", "50 %", "over 99 %", "100 %"]
    assert found["again"] == found["state"]
    assert found["request"] == {
        "mode": "words",
        "group_by": "video",
        "query_text": ["a & b", "ü"],
        "query_video": [{"segment_id": "x-1"}, {"video_id": "y", "start": 3, "end": 8.5}],
        "exclude": ["c=d"],
        "exclude_videos": [{"video_id": "z"}],
        "filter": '(x>1 or y<2) and tag="a b"',
    }
    assert found["back"] == ["s:x-1", "v:y@3-8.5"]
    assert found["quoted"] == ["a", '"a b"', '"a\\"b\\\\"', '"and"']
    assert found["cues"] == [{"start": 0, "end": 61.5, "url": "http://here/s.jpg", "x": 0, "y": 90, "w": 160, "h": 90}]
    assert found["labels"] == ["Under 1 minute", 'Tag: a "b', "Added since 2026-11-01", "x>1 or tag=b"]
    assert "".join(found["marked"]) == "Goals, and a goalkeeper"


def test_all_scripts_of_a_page_are_fetched_at_once(site: Site, look: Look) -> None:
    page = look(site)
    page.wait_for_selector("#grid .card img")
    told, used = page.evaluate(
        """() => [
          [...document.querySelectorAll("link[rel=modulepreload], script[src]")].map((one) => one.src || one.href),
          performance.getEntriesByType("resource").map((one) => one.name).filter((name) => name.endsWith(".js")),
        ]"""
    )
    assert set(used) == set(told)


def test_scripts_keep_their_budgets(root: Path) -> None:
    lines = {
        path.name: len(path.read_text().splitlines()) for path in (root / "src" / "hit" / "web" / "static" / "js").glob("*.js")
    }
    assert {name: count for name, count in lines.items() if count > 400} == {}
    assert sum(lines.values()) <= 7000
    for path in (root / "src" / "hit" / "web").rglob("*.js"):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", path.read_text()), path
