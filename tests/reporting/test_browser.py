"""The page in a real browser: no error, tables that sort, pictures that toggle, no wide phone."""

import itertools

import pytest

from tests.browsers import open_browser, watched_pages

UNDEFINED = "\N{EN DASH}"


@pytest.fixture(scope="module")
def browser():
    with open_browser() as opened:
        yield opened


@pytest.fixture
def open_page(browser, report):
    """A function that opens the report, and checks at the end that nothing was wrong in it."""
    with watched_pages(browser, report.as_uri(), offline=True) as (open_it, complaints):
        yield open_it
    assert complaints == []


def test_table_sorts_by_number_and_by_name_in_both_directions(open_page):
    page = open_page()
    table = page.locator("table.sortable").first
    names = table.locator("tbody th")
    before = names.all_inner_texts()
    table.get_by_role("button", name="AP", exact=True).click()
    values = [float(cell) for cell in table.locator("tbody td:nth-child(2)").all_inner_texts()]
    assert values == sorted(values, reverse=True)
    head = table.locator("th[aria-sort]").nth(1)
    assert head.get_attribute("aria-sort") == "descending"
    table.get_by_role("button", name="Class").press("Enter")
    assert names.all_inner_texts() == sorted(before)
    assert head.get_attribute("aria-sort") == "none"
    table.get_by_role("button", name="Class").press("Enter")
    assert names.all_inner_texts() == sorted(before, reverse=True)


def test_undefined_numbers_come_last_in_both_directions(open_page):
    page = open_page()
    table = page.locator("table.sortable", has_text="By size and shape").first
    button = table.get_by_role("button", name="AP", exact=True)
    for _ in range(2):
        button.click()
        shown = table.locator("tbody td:nth-child(3)").all_inner_texts()
        kept = [text for text in shown if text != UNDEFINED]
        assert shown[: len(kept)] == kept


def test_truth_and_prediction_are_shown_together_and_in_turn(open_page):
    page = open_page()
    pair = page.locator(".pair").first
    truth, prediction = pair.locator(".truth"), pair.locator(".prediction")
    assert truth.is_visible()
    assert prediction.is_visible()
    button = page.get_by_role("button", name="Truth", exact=True)
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    assert (truth.is_visible(), prediction.is_visible()) == (True, False)
    pair.get_by_role("button", name="Flip").press("Space")
    assert (truth.is_visible(), prediction.is_visible()) == (False, True)
    page.get_by_role("button", name="Side by side").click()
    assert (truth.is_visible(), prediction.is_visible()) == (True, True)


def test_all_pictures_load_and_have_a_text(open_page):
    page = open_page()
    images = page.locator("img")
    assert images.count() > 4
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth && i.alt)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_page_is_as_wide_as_the_screen_and_in_its_colours(open_page, width, scheme):
    page = open_page(width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    red = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
    assert (int(red) < 60) == (scheme == "dark")
    shown = page.evaluate("getComputedStyle(document.querySelector('.chart svg')).color")
    assert shown == page.evaluate("getComputedStyle(document.body).color")


def test_tables_and_charts_have_names_for_screen_readers(open_page):
    page = open_page()
    assert page.evaluate(
        "[...document.querySelectorAll('table')].every(t => t.caption && t.caption.innerText)"
    )
    assert page.evaluate(
        "[...document.querySelectorAll('th')].every(t => t.scope && t.innerText.trim())"
    )
    charts = page.get_by_role("img").and_(page.locator("figure.chart"))
    assert charts.count() == page.locator("figure.chart").count() > 3
    levels = page.evaluate(
        "[...document.querySelectorAll('h1,h2,h3,h4')].map(h => Number(h.tagName[1]))"
    )
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_printed_page_has_all_keys_and_no_buttons(open_page):
    page = open_page()
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("[...document.querySelectorAll('details')].every(d => d.open)")
    assert not page.locator(".views").is_visible()
