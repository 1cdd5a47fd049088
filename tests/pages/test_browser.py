"""The pages in a real browser, from `file://`: keyboard, mouse, touch, zoom, colours."""

import pytest

from coser_cli.pages.batch_log import Batch, Entry
from coser_cli.pages.compare import compare_page
from coser_cli.pages.report import report_page

pytestmark = pytest.mark.slow
RED, BLUE = (255, 0, 0), (0, 0, 255)
# WebDriver's private letters for keys.
LEFT, UP, RIGHT, DOWN = "\ue012", "\ue013", "\ue014", "\ue015"
PAGE_UP, PAGE_DOWN, END, HOME = "\ue00e", "\ue00f", "\ue010", "\ue011"
TAB, ENTER = "\ue004", "\ue007"
SLIDER = "#divider"


@pytest.fixture
def compared(browser, picture, tmp_path):
    """`compared(size, window)`: a page with red A over blue B of this size, opened."""

    def make(size=(400, 300), window=(1000, 700)):
        red = picture("red.png", (size[0] // 4, size[1] // 4), RED)
        blue = picture("blue.png", size, BLUE)
        path = tmp_path / "page.html"
        path.write_bytes(compare_page(red, blue).html)
        browser.open(path, window)
        return browser

    return make


def value(browser):
    return int(browser.run("return document.querySelector('#divider').ariaValueNow"))


def is_pressed(browser, zoom):
    return browser.run(f"return document.querySelector('[data-zoom=\"{zoom}\"]').ariaPressed")


def middle(browser, selector):
    left, top, width, height = browser.box(selector)
    return round(left + width / 2), round(top + height / 2)


def test_both_halves_are_seen_and_nothing_is_complained_about(compared, tmp_path):
    browser = compared()
    left, top, width, height = browser.box("#frame")
    shot = browser.screenshot(tmp_path / "page.png")
    row = round(top + height * 0.8)
    assert shot.getpixel((round(left + width * 0.25), row)) == RED
    assert shot.getpixel((round(left + width * 0.75), row)) == BLUE
    assert browser.console() == []


def test_the_slider_is_one_for_assistive_technology(compared):
    browser = compared()
    role, name = browser.role(SLIDER)
    assert role == "slider"
    assert "picture A" in name
    told = browser.run(
        "const s = document.querySelector('#divider');"
        "return [s.ariaValueMin, s.ariaValueMax, s.ariaValueText, s.tabIndex]"
    )
    assert told == ["0", "100", "50 % A, 50 % B", 0]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([RIGHT], 51),
        ([UP, UP], 52),
        ([LEFT, DOWN, DOWN], 47),
        ([PAGE_UP], 60),
        ([PAGE_DOWN, PAGE_DOWN], 30),
        ([HOME], 0),
        ([END], 100),
        ([END, RIGHT, LEFT], 99),
        ([HOME, LEFT], 0),
    ],
)
def test_keyboard(compared, keys, expected):
    browser = compared()
    browser.run("document.querySelector('#divider').focus()")
    browser.press(*keys)
    assert value(browser) == expected
    _, _, width, _ = browser.box("#frame")
    left, _, size, _ = browser.box(SLIDER)
    start = browser.box("#frame")[0]
    assert left + size / 2 - start == pytest.approx(width * expected / 100, abs=1)


def test_everything_is_reached_with_tab(compared):
    browser = compared()
    browser.run("document.activeElement.blur()")
    seen = []
    for _ in range(5):
        browser.press(TAB)
        seen.append(
            browser.run("return document.activeElement.id || document.activeElement.dataset.zoom")
        )
    assert seen == ["fit", "1", "2", "4", "divider"]


def test_end_shows_a_alone_and_home_b(compared, tmp_path):
    browser = compared()
    left, top, width, height = browser.box("#frame")
    ends = [(round(left + width * share), round(top + height * 0.8)) for share in (0.1, 0.9)]
    for key, colour in ((END, RED), (HOME, BLUE)):
        browser.press(key)
        shot = browser.screenshot(tmp_path / "page.png")
        assert [shot.getpixel(point) for point in ends] == [colour, colour]


@pytest.mark.parametrize("kind", ["mouse", "touch", "pen"])
@pytest.mark.parametrize("grip", [SLIDER, "picture"])
def test_pointer_drags_the_divider(compared, kind, grip):
    browser = compared()
    left, top, width, height = browser.box("#frame")
    start = middle(browser, SLIDER) if grip == SLIDER else (round(left + 30), round(top + 40))
    browser.drag(start, (round(left + width * 0.8), round(top + height / 2)), kind)
    assert value(browser) == pytest.approx(80, abs=1)
    browser.drag(middle(browser, SLIDER), (round(left - 60), round(top + height / 2)), kind)
    assert value(browser) == 0


def test_fit_shows_all_and_one_to_one_shows_pixels(compared):
    browser = compared(size=(3000, 2000))
    room, stage = browser.box("#room"), browser.box("#stage")
    assert stage[2] <= room[2] and stage[3] <= room[3] + 0.5
    assert stage[2] / stage[3] == pytest.approx(1.5, abs=0.01)
    browser.click("[data-zoom='1']")
    assert is_pressed(browser, "1") == "true"
    assert is_pressed(browser, "fit") == "false"
    density = browser.run("return window.devicePixelRatio")
    assert browser.box("#stage")[2] * density == pytest.approx(3000)
    assert browser.box("#frame")[2] <= room[2]
    browser.click("[data-zoom='fit']")
    assert browser.box("#stage") == pytest.approx(stage, abs=1)


def test_enlarged_the_mouse_pans_and_the_divider_stays_in_view(compared, tmp_path):
    browser = compared(size=(3000, 2000))
    browser.click("[data-zoom='2']")
    left, top, width, height = browser.box("#frame")
    before = browser.run("return document.querySelector('#scroller').scrollLeft")
    point = round(left + width * 0.8), round(top + height * 0.6)
    browser.drag(point, (point[0] - 100, point[1]))
    after = browser.run("return document.querySelector('#scroller').scrollLeft")
    assert after - before == 100
    assert value(browser) == 50
    shot = browser.screenshot(tmp_path / "page.png")
    row = round(top + height * 0.8)
    for share, colour in ((0.25, RED), (0.75, BLUE)):  # embedded as JPEG, at this size
        assert shot.getpixel((round(left + width * share), row)) == pytest.approx(colour, abs=2)
    browser.drag(middle(browser, SLIDER), (round(left + width * 0.2), round(top + height / 2)))
    assert value(browser) == pytest.approx(20, abs=2)


def test_a_small_picture_in_a_narrow_window(compared):
    browser = compared(size=(12, 8), window=(500, 600))
    assert browser.box("#stage")[2:] == pytest.approx([12, 8], abs=0.5)
    overflow = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert browser.run(overflow) == 0


def test_dark_and_light(compared):
    browser = compared()
    found = []
    for scheme in ("light", "dark"):
        command = {"cmd": "Emulation.setEmulatedMedia"}
        feature = {"name": "prefers-color-scheme", "value": scheme}
        browser._send("POST", "/goog/cdp/execute", command | {"params": {"features": [feature]}})
        colours = browser.run(
            "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
        )
        found.append([sum(map(int, each[4:-1].split(","))) for each in colours])
    (light, dark_ink), (dark, light_ink) = found
    assert light > dark_ink + 450
    assert light_ink > dark + 450


def test_names_are_text_and_no_script_runs(browser, picture, tmp_path):
    name = "<script>window.ran=1</script>\"'&<img src=x onerror=window.ran=1>.png"
    # A slash cannot be in a name; the end tag would need one.
    name = name.replace("/", "∕")
    before, after = picture(name, (8, 8)), picture(f"b{name}", (8, 8))
    page = tmp_path / "page.html"
    page.write_bytes(compare_page(before, after).html)
    browser.open(page)
    assert browser.run("return window.ran ?? 0") == 0
    assert browser.run("return document.querySelector('dd b').textContent") == name
    entry = Entry(before, after, "failed", error="</script><script>window.ran=1</script>")
    page.write_bytes(report_page(Batch((entry,)), tmp_path, page, 64))
    browser.open(page)
    assert browser.run("return window.ran ?? 0") == 0
    assert browser.run("return document.querySelector('h2 + ul a').textContent") == name
    loaded = "return [...document.images].every((each) => each.naturalWidth > 0)"
    assert browser.run(loaded)
    target = browser.run("return document.querySelector('figure a').href")
    assert target == before.as_uri()


def test_report_filters_and_sorts(browser, picture, tmp_path):
    files = [picture(f"{name}.png", (8, 8)) for name in ("c", "a", "b")]
    entries = [
        Entry(files[0], None, "done", seconds=1),
        Entry(files[1], None, "failed", error="no"),
        Entry(files[2], None, "done", seconds=9),
    ]
    page = tmp_path / "page.html"
    page.write_bytes(report_page(Batch(tuple(entries)), tmp_path, page, 64))
    browser.open(page)

    def names():
        return browser.run(
            "return [...document.querySelectorAll('article:not([hidden]) h2')]"
            ".map((each) => each.textContent)"
        )

    def sort(order):
        browser.run(
            "const s = document.querySelector('#order'); s.value = arguments[0];"
            "s.dispatchEvent(new Event('change'))",
            order,
        )

    assert names() == ["c.png", "a.png", "b.png"]
    sort("name")
    assert names() == ["a.png", "b.png", "c.png"]
    sort("seconds")
    assert names() == ["b.png", "c.png", "a.png"]
    browser.click("[data-show=failed]")
    assert names() == ["a.png"]
    browser.click("#failures a")
    assert len(names()) == 3
    assert browser.console() == []
