"""The demo page in a headless Chromium: picked, uploaded, re-ranked, side by side; nobody else is asked."""

import shutil

import pytest

from fghash.search.index_folder import build_index, open_index
from fghash.search.run_items import items_of_run

pytest.importorskip("gradio")
playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def address(runs, tmp_path_factory):
    from fghash.search.web_page import Searcher, examples_of, launch, page

    folder = tmp_path_factory.mktemp("pages")
    for name in ("itq", "rq"):
        build_index(folder / name, items_of_run(runs[name], vectors=name == "itq"))
    searchers = [Searcher.of(open_index(folder / name)) for name in ("itq", "rq")]
    blocks = page(searchers, examples_of(searchers[0]))
    yield launch(blocks, "127.0.0.1", None, block=False)
    blocks.close()


@pytest.fixture
def tab(address):
    """The opened page, with what it asked of other machines and what it complained of."""
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1300, "height": 900})
        tab.outside, tab.errors = [], []
        tab.on(
            "request",
            lambda each: (
                tab.outside.append(each.url) if not each.url.startswith((address, "data:", "blob:")) else None
            ),
        )
        tab.on("console", lambda each: tab.errors.append(each.text) if each.type == "error" else None)
        tab.goto(address)
        tab.wait_for_selector("#examples button img")
        yield tab
        browser.close()


def captions(tab, number, count):
    """Distances and classes of the hits of one index, once there are so many."""
    tab.wait_for_function(f"document.querySelectorAll('#found{number} figcaption').length == {count}")
    return tab.locator(f"#found{number} figcaption").all_inner_texts()


def test_a_picked_query_finds_items_in_both_indexes(tab):
    tab.locator("#examples button img").nth(3).click()
    first, second = captions(tab, 0, 10), captions(tab, 1, 10)
    assert all("family" in each for each in first + second)
    assert first != second
    tab.wait_for_function("document.querySelector('#wanted').innerText.includes('class: family')")
    colours = tab.locator("#found0 img").evaluate_all("all => all.map(each => each.className)")
    wanted = tab.locator("#wanted").inner_text().partition("class: ")[2].strip()
    assert [wanted in each for each in first] == [each != "dashed" for each in colours]
    assert not tab.outside
    assert not tab.errors


def test_an_uploaded_query_has_no_class_and_settings_change_what_is_found(tab, images):
    tab.set_input_files("#query input[type=file]", str(sorted(images.rglob("*.png"))[2]))
    plain = captions(tab, 0, 10)
    assert tab.locator("#found0 img.dashed").count() == 0
    tab.locator("#rerank0 input").click()
    tab.wait_for_function("document.querySelector('#found0 figcaption').innerText.startsWith('-')")
    assert captions(tab, 0, 10) != plain
    assert tab.locator("#rerank1 input").is_disabled()
    assert not tab.outside
