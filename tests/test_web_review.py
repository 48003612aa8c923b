"""The pages of review in real browsers: reviewers, a blind second one, and seniors, at one server."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from playwright.sync_api import Page, expect

from browser import EVIL, Look, Site, browser, filmed, is_as_wide_as_its_window, look, serving, until, violations
from hit.db import Assignment, Segment
from hit.files import BusyError
from hit.review import NewCase
from hit.review.cases import open_cases
from hit.service.access import Role

__all__ = ["browser", "filmed", "look"]  # fixtures
ROLES: dict[str, Role] = {"ann": "reviewer", "bea": "reviewer", "sue": "senior", "tom": "senior", "vic": "viewer"}
LONG, EVIL_TITLE = "long.mp4", f"{EVIL}.mp4"
READY = (LONG, "red.mp4", "green.mp4", "blue.mp4", "red then blue.mp4", EVIL_TITLE)


class Court:
    """A served library with cases, and people who log in to it."""

    def __init__(self, site: Site) -> None:
        self.site, self.db = site, site.service.db
        self.tokens = {name: site.service.access.create(name, role)[0] for name, role in ROLES.items()}
        self.videos = {card.title: card.video.id for card in self.db.videos()[0]}

    def enter(self, look: Look, name: str, path: str, *, allow: tuple[str, ...] = (), **options: object) -> Page:
        """Open a page as somebody who is logged in."""
        begun = self.site.service.access.login(self.tokens[name])
        assert begun
        page = look(self.site, "/static/icon.svg", allow=("favicon.ico", *allow), **options)
        page.context.add_cookies([{"name": "hit_session", "value": begun[0], "url": self.site.base}])
        page.goto(self.site.base + path)
        return page

    def file(self, policy: str, titles: Sequence[str] = (LONG,), seats: int = 1) -> None:
        """Open a case for each video, whose evidence is all of it, scored by its order."""
        cases = []
        for title in titles:
            with self.db.read() as session:
                found = session.query(Segment).filter_by(video_id=self.videos[title]).order_by(Segment.start).all()
            evidence = [
                {"segment_id": one.id, "start": one.start, "end": one.end, "seek": one.seek, "score": 0.5 + 0.1 * i}
                for i, one in enumerate(found)
            ]
            cases.append(
                NewCase(
                    policy=policy,
                    version=1,
                    video_id=self.videos[title],
                    title=title,
                    severity=3,
                    verdict="review",
                    score=0.7,
                    confidence=None,
                    audit=False,
                    evidence=evidence,
                    segment_set="s",
                    revision="toy-1",
                    seats=seats,
                )
            )
        assert open_cases(self.site.service.library, cases) == len(cases)

    def seats(self, policy: str) -> list[Assignment]:
        """Return the seats at a policy's cases."""
        with self.db.read() as session:
            found = session.scalars(sa.select(Assignment).where(Assignment.policy == policy).order_by(Assignment.id)).all()
            session.expunge_all()
        return list(found)

    def outcomes(self, policy: str) -> dict[str, str | None]:
        """Return what has become of a policy's cases, by title."""
        return {one.case.title: one.outcome for one in self.db.cases(None, policy, None, 50, None)[0]}


@pytest.fixture(scope="module")
def court(filmed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Court]:
    """Serve a library in which each test opens cases of a policy of its own."""
    with serving(shutil.copytree(filmed, tmp_path_factory.mktemp("court") / "lib"), auth="on") as site:
        yield Court(site)


@pytest.fixture(autouse=True)
def _given_back(court: Court) -> Iterator[None]:
    """Give back what people of a test hold still: browsers that are shut at once do not always come to it."""
    yield
    with court.db.read() as session:
        held = session.execute(
            sa.select(Assignment.id, Assignment.claim, Assignment.owner).where(Assignment.state == "claimed")
        ).all()
    for number, claim, owner in held:
        with suppress(BusyError):
            court.db.release_seat(number, claim or "", owner or "")


def begin(page: Page) -> Page:
    """Press Start, and wait for a case."""
    expect(page.locator("#go")).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_selector("#review[data-case]")
    return page


def eventually(page: Page, true: Callable[[], bool]) -> None:
    """Wait until something holds outside the page."""
    for _ in range(600):
        if true():
            return
        page.wait_for_timeout(50)
    raise AssertionError("it did not come to pass")


def work(page: Page, say: Callable[[str, str], str], most: int = 20) -> list[tuple[str, str]]:
    """Decide by keyboard alone, until nothing is left; return titles and seats. `say`: which key for a title and a policy."""
    seen: list[tuple[str, str]] = []
    before = None
    while len(seen) < most:
        until(page, f"document.querySelector('#review').dataset.case !== {before!r}" if before else "true")
        shown = page.locator("#review .case h1, #review .state h2")
        shown.first.wait_for()
        if page.locator("#review .state").count():
            break
        title = page.locator(".case h1").inner_text()
        seen.append((title, page.locator(".case-head .badge").inner_text()))
        before = page.locator("#review").get_attribute("data-case")
        page.keyboard.press(say(title, page.locator(".policy-text h2").inner_text()))
        page.keyboard.press("Control+Enter")
    return seen


def test_ten_cases_by_keyboard_with_a_second_reviewer_and_seniors(look: Look, filmed: Path, tmp_path: Path) -> None:
    with serving(shutil.copytree(filmed, tmp_path / "lib"), auth="on") as site:
        court = Court(site)
        court.file("calm", READY, seats=2)
        court.file("loud", READY[:4])
        ann = begin(court.enter(look, "ann", "/review"))
        own = work(ann, lambda title, policy: "2" if title in (LONG, "red.mp4") else "1")
        assert len(own) == 10
        expect(ann.locator(".state")).to_contain_text("You decided 10 cases")
        until(ann, "Number(document.querySelector('#review').dataset.nextMs) > 0")
        print("next case shown after", ann.locator("#review").get_attribute("data-next-ms"), "ms")

        bea = court.enter(look, "bea", "/review")
        expect(bea.locator(".front h1")).to_contain_text("6 cases")
        begin(bea)
        assert "Ann" not in bea.content()
        assert bea.locator(".history").count() == 0  # she is blind
        blind = work(bea, lambda title, policy: "2" if title == LONG else "1")
        assert sorted(title for title, _ in blind) == sorted(READY)
        court_says = court.outcomes("calm")
        assert court_says[LONG] == "block"
        assert court_says["green.mp4"] == "pass"
        assert court_says["red.mp4"] is None  # they disagree

        sue = begin(court.enter(look, "sue", "/review"))
        expect(sue.locator(".case-head")).to_contain_text("Senior review")
        expect(sue.locator(".history li")).to_have_count(2)
        expect(sue.locator(".history")).to_contain_text("by ann")
        assert work(sue, lambda title, policy: "2") == [("red.mp4", "Senior review")]
        assert court.outcomes("calm")["red.mp4"] == "block"

        number = next(one.case.id for one in court.db.cases(None, "calm", None, 50, None)[0] if one.case.title == "red.mp4")
        sue.goto(f"{site.base}/review/cases/{number}")
        sue.get_by_role("button", name="Appeal").click()
        sue.get_by_label("Reason").fill("the owner says it is a toy")
        sue.keyboard.press("Enter")
        expect(sue.locator(".history li")).to_have_count(4)
        for page in (sue, ann):  # whoever decided it is not asked again
            page.goto(f"{site.base}/review")
            page.locator("#go").click()
            expect(page.locator(".state")).to_contain_text("That was all")
        tom = begin(court.enter(look, "tom", "/review"))
        assert work(tom, lambda title, policy: "1") == [("red.mp4", "Appeal")]
        assert court.outcomes("calm")["red.mp4"] == "pass"
        assert {one.state for policy in ("calm", "loud") for one in court.seats(policy)} == {"done"}
        for page in (ann, bea, sue, tom):
            page.context.close()


def test_it_begins_mild_and_remembers_what_was_changed(look: Look, court: Court) -> None:
    court.file("mild")
    page = begin(court.enter(look, "ann", "/review?policy=mild"))
    case = page.locator(".case")
    blurred = "getComputedStyle(document.querySelector('.still')).filter"
    until(page, f"{blurred} === 'blur(18px) grayscale(1)'")
    assert page.evaluate("document.querySelector('video').muted")
    expect(page.locator(".still")).to_be_visible()
    expect(page.locator("video")).to_be_hidden()
    for key in "bgm":
        page.keyboard.press(key)
    until(page, f"{blurred} === 'none'")
    assert not page.evaluate("document.querySelector('video').muted")
    page.keyboard.press("v")
    expect(page.locator("video")).to_be_visible()
    page.reload()
    begin(page)
    expect(case).not_to_have_class("blurred")
    expect(page.locator("video")).to_be_visible()
    assert page.get_by_role("button", name="Blur").get_attribute("aria-pressed") == "false"
    page.get_by_role("button", name="Blur").click()
    until(page, "getComputedStyle(document.querySelector('video')).filter === 'blur(18px)'")


def test_keys_drive_the_player_and_are_dead_in_fields(look: Look, court: Court) -> None:
    court.file("keys")
    page = begin(court.enter(look, "ann", "/review?policy=keys"))
    now = "document.querySelector('video').currentTime"
    case = court.db.case(court.seats("keys")[0].case_id).case
    starts = sorted(one["seek"] for one in case.evidence)
    assert len(starts) == 4
    page.keyboard.press("]")
    expect(page.locator(".case-stage .stamp")).to_contain_text("still 2 of 4")
    page.keyboard.press("k")  # the video, from there on
    until(page, f"{now} >= {starts[1]} && !document.querySelector('video').paused")
    page.keyboard.press("k")
    until(page, "document.querySelector('video').paused")
    page.keyboard.press("[")
    until(page, f"Math.abs({now} - {starts[0]}) < 0.01")
    for key, at in (("l", 10), ("ArrowLeft", 9), (".", 9.04), (",", 9), ("j", 0), ("ArrowRight", 1)):
        page.keyboard.press(key)
        until(page, f"Math.abs({now} - {starts[0] + at}) < 0.02")
    line = page.locator(".case-line")
    box = line.bounding_box()
    assert box
    line.click(position={"x": box["width"] * 0.99, "y": 20})
    until(page, f"Math.abs({now} - {starts[3]}) < 0.05")
    page.keyboard.press("n")
    expect(page.get_by_label("Note")).to_be_focused()
    page.keyboard.type("1 2 skip [?]")
    expect(page.get_by_label("Note")).to_have_value("1 2 skip [?]")
    assert page.locator("[aria-checked=true], dialog").count() == 0
    page.keyboard.press("Control+Enter")
    expect(page.locator(".decide .wrong")).to_contain_text("Choose a decision first: 1 Pass, 2 Block")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_contain_text("Submit and next")
    page.keyboard.press("2")  # nor do they act behind a dialog
    page.keyboard.press("Escape")
    assert page.locator("[aria-checked=true]").count() == 0
    page.keyboard.press("x")  # the last one does not count
    page.keyboard.press("2")
    page.keyboard.press("n")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".state")).to_contain_text("That was all")
    (seat,) = court.seats("keys")
    (link,) = court.db.history(seat.case_id)
    assert (link.action, link.note, len(link.evidence or [])) == ("block", "1 2 skip [?]", 3)
    assert link.seconds and link.seconds > 0


def test_what_is_skipped_is_not_offered_again(look: Look, court: Court) -> None:
    court.file("skips", READY[:2])
    page = begin(court.enter(look, "ann", "/review?policy=skips"))
    first = page.locator(".case h1").inner_text()
    page.keyboard.press("s")
    page.get_by_role("dialog").get_by_label("Reason", exact=True).select_option("Another reason")
    page.keyboard.press("Enter")
    page.get_by_role("dialog").get_by_label("Reason in your words").fill("it is mine")
    page.keyboard.press("Enter")
    expect(page.locator(".case h1")).not_to_have_text(first)
    expect(page.locator(".case h1")).to_be_focused()  # and keys mean the case
    page.keyboard.press("1")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".state")).to_contain_text("That was all")
    assert court.outcomes("skips")[first] is None


def test_a_lease_is_kept_alive_and_its_loss_is_told_kindly(look: Look, court: Court) -> None:
    court.file("leases", READY[:2])
    page = court.enter(look, "ann", "/review?policy=leases", allow=("409",))
    page.clock.install()
    page.reload()
    begin(page)
    until(page, "document.querySelector('#review').dataset.ready === 'yes'")
    held = {one.id: one.beat_at for one in court.seats("leases") if one.beat_at}
    page.clock.fast_forward(round(court.db.lease / 3 * 1000) + 100)
    eventually(page, lambda: all(one.beat_at and one.beat_at > held[one.id] for one in court.seats("leases")))
    current = page.locator("#review").get_attribute("data-case")
    gone = next(one for one in court.seats("leases") if str(one.case_id) == current)
    court.db.release_seat(gone.id, gone.claim or "", "ann")  # as if it had ended
    page.clock.fast_forward(round(court.db.lease / 3 * 1000) + 100)
    expect(page.locator(".state")).to_contain_text("This case went back to the queue")
    assert page.locator(".decide").count() == 0
    page.keyboard.press("Enter")
    page.wait_for_selector("#review[data-case]")
    page.clock.fast_forward(16 * 60_000)  # nobody is there
    expect(page.locator(".notice")).to_contain_text("Your cases went back to the queue")
    eventually(page, lambda: {one.state for one in court.seats("leases")} == {"open"})


def test_a_break_is_suggested_and_leaving_gives_cases_back(look: Look, court: Court) -> None:
    court.file("breaks", READY[:3])
    page = court.enter(look, "ann", "/review?policy=breaks")
    page.clock.install()
    page.reload()
    page.get_by_label("Suggest a break").select_option("after 20 minutes")
    page.locator("#go").focus()
    begin(page)
    for _ in range(3):
        page.keyboard.press("]")  # somebody is there
        page.clock.fast_forward(7 * 60_000)
    expect(page.locator(".pause")).to_contain_text("You have reviewed for 21 min")
    page.get_by_role("button", name="Later").click()
    expect(page.locator(".pause")).to_have_count(0)
    assert "claimed" in {one.state for one in court.seats("breaks")}
    page.goto(f"{court.site.base}/policies/webhooks")
    eventually(page, lambda: {one.state for one in court.seats("breaks")} == {"open"})


def test_one_tab_works_at_a_time(look: Look, court: Court) -> None:
    court.file("tabs", READY[:2])
    one = begin(court.enter(look, "ann", "/review?policy=tabs"))
    until(one, "document.querySelector('#review').dataset.ready === 'yes'")
    case = one.locator("#review").get_attribute("data-case")
    other = one.context.new_page()
    other.goto(f"{court.site.base}/review?policy=tabs")
    other.get_by_role("button", name="Go on").click()
    other.get_by_role("button", name="Go on here").click()
    other.wait_for_selector("#review[data-case]")
    assert other.locator("#review").get_attribute("data-case") == case
    expect(one.locator(".notice")).to_contain_text("Review goes on in another tab")
    assert [seat.state for seat in court.seats("tabs")] == ["claimed", "claimed"]


def test_a_decision_survives_that_the_network_is_away(look: Look, court: Court) -> None:
    court.file("offline", READY[:2])
    page = begin(court.enter(look, "ann", "/review?policy=offline", allow=("ERR_INTERNET_DISCONNECTED",)))
    until(page, "document.querySelector('#review').dataset.ready === 'yes'")
    first = page.locator(".case h1").inner_text()
    page.context.set_offline(True)
    page.keyboard.press("2")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".case h1")).not_to_have_text(first)
    expect(page.locator(".notice.bad")).to_contain_text("Go on: what you decide is kept")
    assert court.outcomes("offline")[first] is None
    page.context.set_offline(False)
    eventually(page, lambda: court.outcomes("offline")[first] == "block")
    expect(page.locator(".notice.bad")).to_have_count(0)


def test_many_at_once_and_back(look: Look, court: Court) -> None:
    court.file("many", READY[:3])
    page = court.enter(look, "sue", "/review/cases?policy=many")
    page.get_by_label("Choose all that are shown").check()
    page.locator("#bulk").get_by_role("button", name="Block").click()
    page.get_by_label("Reason").fill("a wave of spam")
    page.keyboard.press("Enter")
    expect(page.locator("#undo")).to_contain_text("3 cases blocked")
    expect(page.locator("#list .state")).to_contain_text("Nothing waits")
    assert set(court.outcomes("many").values()) == {"block"}
    page.get_by_role("button", name="Decided").click()
    expect(page.locator("tr[data-state=decided]")).to_have_count(3)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".toast")).to_contain_text("Taken back")
    assert set(court.outcomes("many").values()) == {None}
    page.get_by_role("button", name="Open", exact=True).click()
    page.get_by_role("link", name="red.mp4").click()
    expect(page.locator(".history li")).to_have_count(2)
    expect(page.locator(".history")).to_contain_text("taken back")


def test_a_case_is_reopened_and_markup_stays_text(look: Look, court: Court) -> None:
    court.file(EVIL, [EVIL_TITLE])
    page = begin(court.enter(look, "ann", f"/review?policy={quote(EVIL)}"))
    expect(page.locator(".case h1")).to_have_text(EVIL_TITLE)
    page.keyboard.press("2")
    page.get_by_label("Note").fill(EVIL)
    page.keyboard.press("Control+Enter")
    eventually(page, lambda: court.outcomes(EVIL)[EVIL_TITLE] == "block")
    (seat,) = court.seats(EVIL)
    page = court.enter(look, "sue", f"/review/cases/{seat.case_id}")
    expect(page.locator(".history")).to_contain_text(EVIL)
    page.get_by_role("button", name="Reopen").click()
    page.get_by_label("Reason").fill(EVIL)
    page.keyboard.press("Enter")
    expect(page.locator(".history li")).to_have_count(2)
    assert court.outcomes(EVIL)[EVIL_TITLE] is None
    page.goto(f"{court.site.base}/review/cases")
    expect(page.locator("tr", has_text=EVIL_TITLE).first).to_contain_text(EVIL)
    assert page.locator("main img[src=x]").count() == 0
    assert page.title() != "owned"


def test_the_dashboard_tells_and_verifies(look: Look, court: Court) -> None:
    court.file("numbers", READY[:2])
    page = begin(court.enter(look, "tom", "/review?policy=numbers"))
    work(page, lambda title, policy: "2" if title == LONG else "1")
    page.goto(f"{court.site.base}/review/dashboard?policy=numbers&days=7")
    expect(page.locator(".tile", has_text="Decided").locator("strong").first).to_have_text("2")
    expect(page.locator("tr", has_text="tom")).to_contain_text("2")
    expect(page.locator(".forest-value").first).to_contain_text("50 % (9 to 91) of 2")
    page.get_by_role("button", name="Verify the record").click()
    expect(page.locator("#verified .badge")).to_have_text("Sound")
    with page.expect_download() as saved:
        page.get_by_role("link", name="CSV").click()
    assert len(saved.value.path().read_text().splitlines()) > 2


def test_each_role_sees_its_own(look: Look, court: Court) -> None:
    page = court.enter(look, "vic", "/review", allow=("403",))
    expect(page.locator(".state")).to_contain_text("For reviewers")
    page = court.enter(look, "bea", "/review")
    expect(page.locator("#go")).to_be_visible()
    assert page.locator(".subnav a:visible").all_inner_texts() == ["Queue"]
    for path in ("/review/cases", "/review/dashboard"):
        page.goto(court.site.base + path)
        expect(page.locator(".state")).to_contain_text("For seniors")
    page = court.enter(look, "sue", "/review")
    expect(page.locator(".subnav a:visible")).to_have_count(3)


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (360, True)])
def test_the_pages_are_for_everybody(look: Look, court: Court, width: int, dark: bool) -> None:
    policy = f"for everybody {width}"
    court.file(policy, READY[:2])
    page = court.enter(look, "sue", f"/review?policy={policy}", width=width, dark=dark)
    expect(page.locator("#go")).to_be_visible()
    assert is_as_wide_as_its_window(page)
    assert dark or violations(page) == []
    begin(page)
    page.keyboard.press("2")
    assert is_as_wide_as_its_window(page)
    assert violations(page) == []
    number = court.seats(policy)[0].case_id
    pages = {f"/review/cases/{number}": ".case", f"/review/cases?policy={policy}": "tbody tr", "/review/dashboard": ".totals"}
    for path, there in pages.items():
        page.goto(court.site.base + path)
        page.wait_for_selector(there)
        assert is_as_wide_as_its_window(page), path
        assert dark or violations(page) == [], path
