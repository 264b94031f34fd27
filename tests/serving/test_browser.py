"""The page in a real browser: a photograph goes in, what was found comes out."""

import io
import os

import pytest
from PIL import Image

pytest.importorskip("fastapi")

from d2lite.serving import Limits, ModelQueue, build_app
from tests.browsers import open_browser, watched_pages

# Chromium notes each answer that is not a success.
EXPECTED = "Failed to load resource: the server responded with a status of 4"


@pytest.fixture(scope="module")
def address(predictor, serving):
    with serving(build_app(ModelQueue(predictor), Limits(num_bytes=1_000_000))) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with open_browser() as opened:
        yield opened


@pytest.fixture
def open_page(browser, address):
    with watched_pages(browser, address) as (open_it, complaints):
        yield open_it
    assert [text for text in complaints if not text.startswith(EXPECTED)] == []


def upload(name, content):
    return {"name": name, "mimeType": "image/png", "buffer": content}


def test_chosen_photograph_is_shown_with_its_objects(open_page, photo):
    page = open_page()
    page.get_by_label("Choose a photograph").set_input_files(upload("street.png", photo))
    picture = page.get_by_alt_text("street.png with what was found in it")
    picture.wait_for()
    assert picture.evaluate("image => image.naturalWidth") > 100
    assert page.locator("#found tbody tr").count() == 7
    assert page.get_by_role("status").inner_text().startswith("Found in street.png")


def test_dropped_photograph_is_predicted(open_page, photo):
    page = open_page()
    page.evaluate(
        """bytes => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "dropped.png", {type: "image/png"}));
            document.dispatchEvent(
                new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}));
        }""",
        list(photo),
    )
    page.get_by_alt_text("dropped.png").wait_for()


def test_higher_score_leaves_fewer_objects(open_page, predictor, photo):
    scores = predictor(Image.open(io.BytesIO(photo))).scores
    lowest = float(scores[-1] + scores[0]) / 2
    page = open_page()
    page.locator("#file").set_input_files(upload("street.png", photo))
    rows = page.locator("#found tbody tr")
    rows.nth(len(scores) - 1).wait_for()
    page.get_by_label("Lowest score").fill(str(lowest))
    page.get_by_label("Lowest score").press("Enter")
    rows.nth(len(scores) - 1).wait_for(state="detached")
    assert rows.count() == (scores >= lowest).sum()


def test_refusal_is_shown_as_its_sentence(open_page):
    page = open_page()
    page.locator("#file").set_input_files(upload("notes.png", b"not a picture"))
    page.get_by_text("The file is not an image").wait_for()
    assert not page.locator("#picture").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_page_is_as_wide_as_the_screen_and_in_its_colours(open_page, photo, width, scheme):
    page = open_page(width, scheme)
    page.locator("#file").set_input_files(upload("street.png", photo))
    page.get_by_alt_text("street.png").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    red = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
    assert (int(red) < 60) == (scheme == "dark")
    if folder := os.environ.get("D2LITE_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/serve_{scheme}_{width}.png", full_page=True)


def test_first_tab_goes_to_the_choice_of_a_photograph_and_shows_it(open_page):
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "file"
    assert (
        page.evaluate("getComputedStyle(document.getElementById('drop')).outlineStyle") == "solid"
    )
