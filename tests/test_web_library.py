"""The library page and the login page in a real browser: adding, watching, failing, removing, and who may."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from browser import EVIL, Look, Site, browser, filmed, filmed_own, is_as_wide_as_its_window, look, serving, site, violations
from toy import PLUGIN, render

__all__ = ["browser", "filmed", "filmed_own", "look", "site"]  # fixtures
JOB = 120_000  # milliseconds that a job's process may take on a busy machine


def rows(page: Page) -> list[str]:
    page.wait_for_selector("#list[aria-busy=false]")
    return page.locator(".video-title").all_inner_texts()


def job(page: Page, words: str, state: str = "done") -> None:
    """Wait until the newest job of these words has ended so."""
    found = page.locator(f"li.job[data-state={state}]", has_text=words)
    expect(found.first).to_be_visible(timeout=JOB)


def test_a_folder_is_added_watched_and_its_failures_are_retried(
    look: Look, filmed_own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(PLUGIN))
    render(tmp_path / "new" / "inner" / "fresh.mp4", ["green", "red"])
    bad = tmp_path / "new" / "inner" / "damaged.mp4"
    bad.write_bytes(b"nothing that can be read")
    with serving(filmed_own, jobs=True, roots=(str(tmp_path / "new"),)) as site:
        page = look(site, "/library")
        assert "fresh.mp4" not in rows(page)
        page.get_by_role("button", name="Add a folder").click()
        page.get_by_role("button", name="inner").click()
        expect(page.get_by_text("2 videos right here")).to_be_visible()
        page.get_by_role("button", name="Add this folder").click()
        expect(page.locator("li.job[data-state=running] progress, li.job[data-state=done]").first).to_be_visible(timeout=JOB)
        job(page, "Indexing inner")
        told = page.locator("li.job", has_text="Indexing inner")
        assert "1 added, 1 failed" in told.inner_text()
        told.get_by_text("1 file could not be read").click()
        assert "damaged.mp4 not a readable video" in told.inner_text()
        expect(page.locator("tr[data-status=ready]", has_text="fresh.mp4")).to_be_visible()
        failed = page.locator("tr[data-status=failed]", has_text="damaged.mp4")
        assert "not a readable video" in failed.inner_text()
        render(bad, ["blue", "grey"])
        told.get_by_role("button", name="Try again: Indexing inner").click()
        expect(page.locator("tr[data-status=ready]", has_text="damaged.mp4")).to_be_visible(timeout=JOB)
        page.context.close()  # before the server, whose end would be complained of


def test_files_are_sent_refused_and_removed(
    look: Look, filmed_own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(PLUGIN))
    good = render(tmp_path / f"{EVIL.replace('/', '')}2.mp4", ["blue", "red", "grey"])
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video at all")
    with serving(filmed_own, jobs=True) as site:
        page = look(site, "/library", allow=("415",))
        rows(page)
        page.get_by_label("Videos to send").set_input_files([broken, good])
        expect(page.locator("li.upload[data-state=refused]")).to_contain_text("is no video", timeout=JOB)
        expect(page.locator("li.upload[data-state=ready]")).to_contain_text(good.name, timeout=JOB)
        (kept,) = (filmed_own / "uploads").iterdir()
        expect(page.locator("tr", has_text=good.name)).to_have_attribute("data-status", "ready")
        assert page.get_by_role("button", name="Send broken.mp4 again").is_visible()
        page.get_by_label("Videos to send").set_input_files([good])
        expect(page.locator("li.upload[data-state=known]")).to_be_visible(timeout=JOB)
        page.get_by_role("button", name=f"Remove {good.name}").click()
        assert "its file is deleted" in page.get_by_role("dialog").inner_text()
        page.get_by_role("button", name="Keep as it is").click()
        assert good.name in rows(page)
        page.get_by_role("button", name=f"Remove {good.name}").click()
        page.get_by_role("dialog").get_by_role("button", name="Remove", exact=True).click()
        expect(page.locator("tr", has_text=good.name)).to_have_count(0, timeout=JOB)
        job(page, "1 removed")
        assert not kept.exists()
        assert page.title() != "owned"
        page.context.close()


def test_the_list_is_filtered_searched_and_ordered_by_the_url(look: Look, site: Site) -> None:
    page = look(site, "/library")
    every = rows(page)
    assert len(every) == 7
    assert f"{EVIL}.mp4" in every
    page.get_by_role("button", name="Failed 1").click()
    expect(page.locator("tr[data-video]")).to_have_count(1)
    assert "not a readable video" in page.locator("tr[data-video] .wrong").inner_text()
    assert page.get_by_role("button", name="Try again: broken.mp4").is_visible()
    page.go_back()
    expect(page.locator("tr[data-video]")).to_have_count(len(every))
    page.get_by_label("Title or path").fill("GREEN")
    expect(page.locator("tr[data-video]")).to_have_count(1)
    assert "q=GREEN" in page.url
    page.get_by_label("Title or path").fill("no such title")
    page.get_by_text("Nothing is called “no such title”.").wait_for()
    page.get_by_role("button", name="Show all").click()
    expect(page.locator("tr[data-video]")).to_have_count(len(every))
    page.get_by_label("Order").select_option("title")
    page.wait_for_url("**sort=title")
    expect(page.locator(".video-title").first).to_have_text(sorted(every)[0])
    page.reload()
    assert rows(page) == sorted(every)
    page.get_by_role("link", name="red.mp4").click()
    page.wait_for_url("**/videos/**")


def test_progress_is_live_and_what_waits_can_be_cancelled(look: Look, site: Site) -> None:
    page = look(site, "/library?status=failed")
    rows(page)
    page.get_by_role("button", name="Retry it").click()
    waiting = page.locator("li.job[data-state=queued]", has_text="Looking again at 1 video")
    waiting.get_by_role("button", name="Cancel").click()
    expect(page.locator("li.job[data-state=cancelled]", has_text="Looking again at 1 video")).to_be_visible()
    served = site.service
    number = served.jobs.submit("index", {"sources": [f"/films/{EVIL}"]}).id
    assert served.db.claim_job("me", ["index"]) is not None
    told = page.locator(f"li.job[data-job='{number}']")
    for done in (3, 7):
        served.db.beat_job(number, "me", done, 10, f"{EVIL}.mp4")
        expect(told).to_contain_text(f"{done} of 10")
        assert told.locator("progress").evaluate("bar => bar.position") == pytest.approx(done / 10)
    expect(told).to_contain_text("left")
    failures = [{"path": f"/films/{EVIL}.mp4", "reason": EVIL}]
    served.db.end_job(number, "me", "done", {"added": 9, "failed": 1, "seconds": 75.0, "failures": failures})
    expect(told).to_contain_text("9 added, 1 failed, in 1 min 15 s")
    assert told.locator("progress").count() == 0
    told.get_by_text("1 file could not be read").click()
    assert EVIL in told.locator(".failures li").inner_text()
    assert (page.locator("main img[src=x]").count(), page.title()) == (0, "Library · HiT")
    page.clock.install()
    page.reload()
    expect(told.locator("time")).to_have_text(re.compile("just now|seconds ago|^1 minute ago"))
    page.clock.run_for(150_000)
    expect(told.locator("time")).to_have_text(re.compile("^[2-4] minutes ago"))


@pytest.mark.parametrize("width", [360, 1280])
def test_pages_fit_a_phone_and_are_accessible(look: Look, site: Site, width: int) -> None:
    page = look(site, "/library", width=width, dark=width == 360)
    rows(page)
    page.locator("#model h2").wait_for()
    assert is_as_wide_as_its_window(page)
    assert violations(page) == []
    page.get_by_role("button", name="Remove red.mp4").click()
    assert violations(page) == []
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Remove red.mp4")).to_be_focused()
    page.get_by_text("Change the model").click()
    assert "--model MODEL" in page.locator(".command").inner_text()
    page = look(site, "/login", width=width, dark=width == 360)
    assert is_as_wide_as_its_window(page)
    assert violations(page) == []


def test_logging_in_and_what_each_role_sees(look: Look, filmed_own: Path) -> None:
    with serving(filmed_own, auth="on") as site:
        tokens = {role: site.service.access.create(role, role)[0] for role in ("viewer", "admin")}
        page = look(site, "/library?sort=title", allow=("401", "403"))
        assert urlsplit(page.url).path == "/login"
        page.get_by_role("button", name="Log in").click()
        page.get_by_text("Enter a token.").wait_for()
        page.get_by_label("Token", exact=True).fill("hit_" + "x" * 43)
        page.get_by_role("button", name="Log in").click()
        page.get_by_text("This token is not valid").wait_for()
        assert page.get_by_label("Token", exact=True).get_attribute("aria-invalid") == "true"
        page.get_by_label("Token", exact=True).fill(f" {tokens['viewer']} ")
        page.keyboard.press("Enter")
        page.wait_for_url("**/library?sort=title")
        assert len(rows(page)) == 7
        page.locator("#model h2").wait_for()
        for name in ("Upload videos", "Add a folder", "Remove", "Retry", "Index anew"):
            assert page.get_by_role("button", name=name).count() == 0
        assert page.get_by_text("Change the model").count() == 0
        video = page.locator("tr[data-video]").first.get_attribute("data-video")
        refused = """async video => {
            const me = await (await fetch("/v1/me")).json();
            return (await fetch(`/v1/videos/${video}`, {method: "DELETE", headers: {"X-CSRF-Token": me.csrf_token}})).status;
        }"""
        assert page.evaluate(refused, video) == 403
        page.get_by_role("button", name="Log out").click()
        page.wait_for_url("**/login")
        page.goto(f"{site.base}/login?next=//elsewhere.example/")
        page.get_by_label("Token", exact=True).fill(tokens["admin"])
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(f"{site.base}/")
        page.goto(f"{site.base}/login?next=/library")  # as after a link of another site, with which the cookie was not sent
        page.wait_for_url("**/library")
        page.get_by_role("button", name="Upload videos").wait_for()
        rows(page)
        begun = site.service.access.login(tokens["admin"])
        assert begun
        # As after a login in another tab.
        page.context.add_cookies([{"name": "hit_session", "value": begun[0], "url": site.base}])
        asked = """async () => (await import("/static/js/api.js")).post("/v1/search", {query_text: "red"})"""
        assert page.evaluate(asked)["hits"]
        assert page.get_by_role("button", name="Remove red.mp4").is_enabled()
        page.context.close()
