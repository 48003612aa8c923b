"""The pages of policies in a real browser: written, tried, run in shadow, enforced; the block bank; webhooks."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from browser import EVIL, Look, Site, browser, filmed, filmed_own, is_as_wide_as_its_window, look, serving, violations
from hit import intake
from hit.db import Delivery
from hit.moderation import lifecycle
from toy import PLUGIN

__all__ = ["browser", "filmed", "filmed_own", "look"]  # fixtures
JOB = 120_000  # milliseconds that a job's process may take on a busy machine
SAYS = {"texts": ["red"], "review": {"percentile": 60}, "block": {"percentile": 95}}


@pytest.fixture(scope="module")
def site(filmed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Serve a library with a policy that is enforced, and one that is called in markup."""
    with serving(shutil.copytree(filmed, tmp_path_factory.mktemp("policed") / "lib")) as served:
        library = served.service.library
        for name, says in {"red": SAYS, EVIL: {**SAYS, "note": EVIL, "texts": ["red", EVIL]}}.items():
            lifecycle.draft(library, name, says, EVIL)
            lifecycle.enter(library, name, "enforced", EVIL)
        intake.follow(library)
        yield served


def as_role(page: Page, site: Site, role: str, path: str) -> Page:
    """Open a page as somebody of a role; what the server lets them do is tested with the API."""
    page.route("**/v1/me", lambda route: route.fulfill(json={"name": "guest", "role": role, "csrf_token": "x"}))
    page.goto(site.base + path)
    return page


def numbers(page: Page, room: str) -> list[str]:
    """Return how many pass, go to review and are blocked, as a room of the page says."""
    return page.locator(f"{room} .shares").first.locator("strong").all_inner_texts()


def test_a_policy_is_written_tried_run_in_shadow_and_enforced(
    look: Look, filmed_own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(PLUGIN))
    with serving(filmed_own, jobs=True) as site:
        db = site.service.db
        page = look(site, "/policies")
        page.get_by_role("button", name="New policy").click()
        page.get_by_label("Name").fill("red things")
        page.get_by_label("What it looks for").fill("red\n\n red red ")
        page.get_by_role("button", name="Make a draft").click()
        page.wait_for_url("**/policies/red%20things")
        page.get_by_label("To review: how the line is found").select_option("Percentile of the background")
        page.get_by_label("To review: the number").fill("70")
        expect(page.locator(".edit-bar")).to_contain_text("Not saved yet")
        page.get_by_role("button", name="Dry run").click()
        expect(page.locator("#dry")).to_contain_text("Nothing was written")
        tried = numbers(page, "#dry")
        assert sum(map(int, tried)) == 6
        assert int(tried[1]) > 0
        assert page.locator("#dry .reel .card").count() > 0
        assert db.policy("red things").document["review"] != {"percentile": 70.0}
        page.locator("[data-act=enforce]").click()
        expect(page.locator(".toast")).to_contain_text("Save the draft first")
        page.get_by_role("button", name="Save draft").click()
        expect(page.locator(".toast").last).to_contain_text("Saved as version 1, a draft")

        page.locator("[data-act=shadow]").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("no case is opened")
        expect(dialog.locator(".shares")).to_be_visible()
        assert numbers(page, "dialog") == tried
        dialog.get_by_role("button", name="Run in shadow").click()
        expect(page.locator("#state")).to_have_text("Shadow")
        expect(page.locator(".edit-side").get_by_text("Not judged yet")).to_have_count(0, timeout=JOB)
        assert numbers(page, "section[aria-label=Version]") == tried
        assert db.cases(None, None, None, 10, None)[1] == 0

        page.get_by_label("Block: how the line is found").select_option("Percentile of the background")
        page.get_by_label("Block: the number").fill("95")
        page.get_by_role("button", name="Save draft").click()
        expect(page.locator("#state")).to_have_text("Draft")
        page.get_by_role("link", name="Versions").click()
        expect(page.locator(".differences")).to_contain_text("percentile 95")
        page.get_by_role("link", name="Policy", exact=True).click()
        page.locator("[data-act=enforce]").click()
        expect(dialog).to_contain_text("goes to the queue")
        dialog.get_by_role("button", name="Enforce").click()
        expect(page.locator("#state")).to_have_text("Enforced")
        expect(page.locator(".edit-side").get_by_text("Not judged yet")).to_have_count(0, timeout=JOB)
        page.get_by_role("button", name="Refit from decisions").click()  # nobody has decided anything
        expect(page.locator("#dry")).to_contain_text("No verdict is another one than version 2 has now")
        page.get_by_role("combobox", name="Version").select_option("Version 2 · Enforced")
        page.wait_for_url("**?version=2")
        page.get_by_role("link", name="Verdicts").click()
        expect(page.locator("tr[data-video]")).to_have_count(6)
        page.get_by_role("button", name="Block", exact=True).click()
        blocked = page.locator("tr[data-verdict=block]")
        expect(page.locator("tr[data-verdict=pass]")).to_have_count(0)
        assert blocked.count() == db.verdict_counts(["red things"])["red things", 2]["block"]
        with page.expect_download() as saved:
            page.get_by_role("link", name="CSV").click()
        assert len(saved.value.path().read_text().splitlines()) == 7
        page.locator("[data-act=retire]").click()
        dialog.get_by_role("button", name="Retire").click()
        expect(page.locator("#state")).to_have_text("Retired")
        page.context.close()  # before the server, whose end would be complained of


def test_an_example_comes_from_a_search_and_is_taken_out(look: Look, site: Site) -> None:
    page = look(site, "/?q=red")
    page.wait_for_selector("#results[aria-busy=false] .card[data-clip]")
    card = page.locator(".card[data-clip]").first
    clip = card.get_attribute("data-clip")
    card.hover()
    card.get_by_role("button", name="as an example of a policy").click()
    dialog = page.get_by_role("dialog")
    dialog.locator("select").select_option("red")
    dialog.get_by_label("It does not").check()
    dialog.get_by_role("button", name="Add to a draft").click()
    expect(page.locator(".toast")).to_contain_text("Added to version 2 of red, a draft")
    page.goto(f"{site.base}/policies/red")
    example = page.locator(f".examples-of [data-segment='{clip}']")
    expect(example).to_be_visible()
    page.get_by_role("button", name="Take out this example").click()
    expect(example).to_have_count(0)
    page.get_by_role("button", name="Save draft").click()
    expect(page.locator(".toast").last).to_contain_text("Saved as version 2")
    page.reload()
    page.wait_for_selector(".policy-form")
    assert example.count() == 0


def test_what_is_wrong_is_said_at_the_form(look: Look, site: Site) -> None:
    page = look(site, "/policies/red", allow=("400", "422"))
    page.get_by_label("Only videos of this filter").fill("no such field = 3")
    page.get_by_role("button", name="Dry run").click()
    expect(page.locator("#dry .state")).to_be_visible()
    page.get_by_role("button", name="Save draft").click()
    expect(page.locator(".edit-bar .wrong")).to_be_visible()
    assert page.get_by_role("button", name="Save draft").is_enabled()


def test_the_bank_and_webhooks_are_kept(look: Look, site: Site) -> None:
    page = look(site, "/policies/bank")
    expect(page.locator("#list .state")).to_contain_text("The bank is empty")
    page.get_by_role("button", name="Add a clip").click()
    page.get_by_role("searchbox", name="Video").fill("blue")
    page.locator(".found").get_by_role("button", name="blue.mp4", exact=True).click()
    page.get_by_label("Note").fill(EVIL)
    page.get_by_label("To", exact=True).fill("0:01")
    page.get_by_role("button", name="Add to the bank").click()
    expect(page.locator("tr[data-clip]")).to_contain_text(EVIL)
    page.get_by_role("button", name="Remove blue.mp4").click()
    page.get_by_role("button", name="Take out").click()
    expect(page.locator("#list .state")).to_contain_text("The bank is empty")

    page.goto(f"{site.base}/policies/webhooks")
    page.get_by_role("button", name="Add a webhook").click()
    page.get_by_label("Name").fill("feed")
    page.get_by_label("Address").fill("https://example.org/hook")
    page.get_by_role("button", name="Add", exact=True).click()
    secret = page.get_by_role("textbox", name="Secret").input_value()
    assert len(secret) > 20
    page.get_by_role("button", name="I have it").click()
    expect(page.locator("tr[data-webhook=feed]")).to_contain_text("all told")
    assert secret not in page.content()
    now = datetime.now(UTC)
    dead = {"event": "case.decided", "body": {}, "state": "dead", "tries": 9, "created_at": now, "due_at": now, "error": EVIL}
    with site.service.db.write() as session:
        session.add(Delivery(endpoint="feed", sent_at=None, **dead))
    page.reload()
    expect(page.locator("#dead li")).to_contain_text(EVIL)
    page.get_by_role("button", name="Try again: case.decided").click()
    expect(page.locator("#dead")).to_be_hidden()
    expect(page.locator("tr[data-webhook=feed]")).to_contain_text("1 waiting")
    page.get_by_role("button", name="Remove feed").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove", exact=True).click()
    expect(page.locator("#list .state")).to_contain_text("No webhooks")
    assert page.title() != "owned"


def test_a_video_shows_what_policies_say_of_it(look: Look, site: Site) -> None:
    db = site.service.db
    video = db.verdicts("red", 1, verdict="block", limit=1)[0][0].video_id
    page = look(site, f"/videos/{video}")
    own = page.locator("#verdicts [data-policy=red]")
    expect(own.locator(".badge")).to_have_text("Block")
    own.locator(".moment").first.click()
    expect(page.locator("#verdicts")).to_contain_text(EVIL)
    assert page.locator("#verdicts img").count() == 0


def test_who_may_not_write_reads(look: Look, site: Site) -> None:
    page = as_role(look(site, "/library"), site, "reviewer", "/policies/red")
    expect(page.locator("#state")).to_be_visible()
    assert page.get_by_role("button").filter(has_text="Enforce").count() == 0
    assert page.locator(".policy-form :enabled:is(input, select, textarea, button)").count() == 0
    assert page.locator(".subnav").first.locator("a:visible").all_inner_texts() == ["Policies"]
    page.goto(f"{site.base}/policies")
    expect(page.locator(".policy-card")).to_have_count(2)
    assert page.get_by_role("button", name="New policy").count() == 0
    for path in ("/policies/bank", "/policies/webhooks"):
        page.goto(site.base + path)
        expect(page.locator(".state")).to_contain_text("For administrators")


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (360, True)])
def test_the_pages_are_for_everybody(look: Look, site: Site, width: int, dark: bool) -> None:
    page = look(site, "/policies", width=width, dark=dark)
    expect(page.locator(".policy-card")).to_have_count(2)
    assert is_as_wide_as_its_window(page)
    assert dark or violations(page) == []
    page.goto(f"{site.base}/policies/{quote(EVIL)}")
    page.get_by_role("button", name="Dry run").click()
    expect(page.locator("#dry")).to_contain_text("Nothing was written")
    assert is_as_wide_as_its_window(page)
    assert violations(page) == []
    for path, there in (("?view=verdicts", "tr[data-video]"), ("?view=versions", ".table")):
        page.goto(f"{site.base}/policies/{quote(EVIL)}{path}")
        page.wait_for_selector(there)
        assert is_as_wide_as_its_window(page), path
        assert dark or violations(page) == [], path
    assert page.locator("main img[src=x]").count() == 0
    assert page.title() != "owned"
