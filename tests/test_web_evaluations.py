"""The pages of evaluations in a real browser: charts that can be read, clips that play side by side, words that stay words."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

import report_files
from browser import EVIL, Look, Site, browser, is_as_wide_as_its_window, look, serving, until, violations
from report_files import Made

__all__ = ["browser", "look"]  # fixtures


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Made:
    made = report_files.make(tmp_path_factory.mktemp("reports"), EVIL)
    folder = made.folder / "broken" / EVIL
    folder.mkdir(parents=True)
    (folder / "card.json").write_text(json.dumps({"name": EVIL}))
    return made


@pytest.fixture(scope="module")
def site(made: Path, reports: Made) -> Iterator[Site]:
    with serving(made / "lib", reports=(str(reports.folder),), roots=(str(reports.data),)) as served:
        yield served


def opened(look: Look, site: Site, kind: str, **options: object) -> Page:
    """Open the report of a kind, from the list of that kind."""
    page: Page = look(site, f"/evaluations?kind={kind}", **options)
    page.wait_for_selector("#reports[aria-busy=false]")
    page.locator("li.report:not(.broken) h2 a").first.click()
    page.wait_for_selector("#report[aria-busy=false]")
    return page


def test_reports_are_listed_and_a_broken_one_says_why(look: Look, site: Site, reports: Made) -> None:
    page = look(site, "/evaluations")
    page.wait_for_selector("#reports[aria-busy=false]")
    assert page.locator("li.report").count() == 5
    fused = reports.measured.scores()["t2v"]["fused"]["R10"]
    assert f"{fused:.1f}" in page.locator("li.report", has_text="test").first.inner_text()
    assert "lacks" in page.locator("li.report.broken .wrong").inner_text()
    assert page.locator("svg.spark").count() == 2
    page.get_by_role("button", name="Ablation").click()
    assert page.locator("li.report").count() == 1
    assert page.url.endswith("?kind=ablate")
    assert violations(page) == []
    assert page.title() != "owned"
    page.locator("li.report h2 a").first.click()
    page.wait_for_selector(".forest-name.best")
    assert page.locator(".forest-name.best").inner_text() == "semantic"
    assert page.locator("table.figures tbody tr").count() == 2
    assert "±" in page.locator("table.figures tbody tr").first.inner_text()


def test_a_chart_tells_its_values_by_pointer_keys_and_table(look: Look, site: Site, reports: Made) -> None:
    page = opened(look, site, "train")
    chart = page.locator("figure.chart", has_text="Training loss")
    plot = chart.locator(".plot")
    plot.scroll_into_view_if_needed()
    assert chart.locator("g.series path").count() >= 2
    plot.focus()
    page.keyboard.press("End")
    assert "step 3" in chart.locator(".tip").inner_text()
    assert "3.00" in chart.locator(".tip").inner_text()
    page.keyboard.press("ArrowLeft")
    assert "4.50" in chart.locator(".tip").inner_text()
    box = plot.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 50, box["y"] + 100)
    assert "9.00" in chart.locator(".tip").inner_text()
    chart.get_by_text("Numbers").click()
    assert chart.locator("tbody tr").count() == 3
    assert "9.00" in chart.locator("tbody tr").first.inner_text()
    recall = page.locator("figure.chart", has_text="Recall, text to video")
    assert recall.locator("ul.legend li").all_inner_texts() == ["feature", "semantic", "fused"]
    assert page.locator("figure.chart", has_text="Confidence").first.locator(".promise").count() == 2


def test_a_miss_plays_side_by_side(look: Look, site: Site) -> None:
    page = opened(look, site, "evaluate", allow=("ERR_ABORTED",))
    both = (
        page.locator("li.miss").filter(has=page.locator(".side.right video")).filter(has=page.locator(".side.first video")).first
    )
    both.scroll_into_view_if_needed()
    both.get_by_role("button", name="Play both").click()
    plays = "v => !v.paused && v.currentTime > 0.2 && v.videoWidth > 0"
    until(page, f"[...document.querySelectorAll('li.miss video')].filter({plays}).length === 2")
    both.get_by_role("button", name="Pause").click()
    assert page.evaluate("[...document.querySelectorAll('li.miss video')].every(v => v.paused)")
    slider = both.get_by_role("slider")
    slider.focus()
    page.keyboard.press("End")
    begins = both.locator("video").evaluate_all("videos => videos.map(v => v.currentTime - Number(v.src.split('#t=')[1]))")
    assert all(1.8 < one < 2.0 for one in begins)  # of two seconds


def test_what_may_not_be_shown_says_why_and_words_stay_words(look: Look, site: Site, reports: Made) -> None:
    page = opened(look, site, "reproduce")
    absent = page.locator(".side", has_text="absent").first
    assert "Its video is not there" in absent.inner_text()
    page = opened(look, site, "train")
    assert EVIL in page.locator("h1").inner_text()
    assert EVIL in page.locator("li.miss h3").first.inner_text()
    assert page.locator("main img[src=x]").count() == 0
    assert page.title() != "owned"


@pytest.mark.parametrize("width", [360, 1280])
def test_pages_fit_a_phone_and_are_accessible(look: Look, site: Site, width: int) -> None:
    for kind in ("train", "ablate"):
        page = opened(look, site, kind, width=width, dark=width == 360)
        assert is_as_wide_as_its_window(page)
        assert violations(page) == []
    back = page.get_by_role("link", name="All reports")
    back.click()
    page.wait_for_selector("#reports[aria-busy=false]")
    assert is_as_wide_as_its_window(page)


def test_no_reports_and_no_such_report(look: Look, made: Path) -> None:
    with serving(made / "lib") as site:
        page = look(site, "/evaluations", allow=("404",))
        page.get_by_text("No reports yet").wait_for()
        page.goto(f"{site.base}/evaluations/0123456789abcdef")
        page.get_by_text("there is no report with this id").wait_for()
