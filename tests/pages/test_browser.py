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
GREEN = (0, 128, 0)


@pytest.fixture
def compared(browser, picture, tmp_path):
    """`compared(size, window, more)`: a page with red A over blue B of this size, opened; with
    `more`, green C, too."""

    def make(size=(400, 300), window=(1000, 700), more=False):
        paths = [
            picture("red.png", (size[0] // 4, size[1] // 4), RED),
            picture("blue.png", size, BLUE),
        ]
        if more:
            paths.append(picture("green.png", size, GREEN))
        path = tmp_path / "page.html"
        path.write_bytes(compare_page(paths).html)
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


def shown(browser, number=0):
    """Left, top, width and height of what is seen of a pane's picture in the window."""
    return browser.run(
        "const pane = document.querySelectorAll('.pane')[arguments[0]];"
        "const a = pane.getBoundingClientRect();"
        "const b = pane.querySelector('.picture').getBoundingClientRect();"
        "const left = Math.max(a.left, b.left), top = Math.max(a.top, b.top);"
        "return [left, top, Math.min(a.right, b.right) - left, Math.min(a.bottom, b.bottom) - top]",
        number,
    )


def whole(browser):
    """The same of the whole picture, also where it is not seen."""
    return browser.box(".pane .picture")


def colours(browser, path, *shares):
    """Colours of the window at shares of the visible width, below the tags."""
    left, top, width, height = shown(browser)
    shot = browser.screenshot(path)
    row = round(top + height * 0.8)
    return [shot.getpixel((round(left + width * share), row)) for share in shares]


def test_both_halves_are_seen_and_nothing_is_complained_about(compared, tmp_path):
    browser = compared()
    assert colours(browser, tmp_path / "page.png", 0.25, 0.75) == [RED, BLUE]
    assert browser.console() == []


def test_the_slider_is_one_for_assistive_technology(compared):
    browser = compared()
    role, name = browser.role(SLIDER)
    assert role == "slider"
    assert "left picture" in name
    told = browser.run(
        "const s = document.querySelector('#divider');"
        "return [s.ariaValueMin, s.ariaValueMax, s.ariaValueText, s.tabIndex]"
    )
    assert told == ["0", "100", "50 % A, 50 % B", 0]


def test_keyboard(compared):
    browser = compared()
    browser.run("document.querySelector('#divider').focus()")
    for keys, expected in (
        ([RIGHT], 51),
        ([UP, UP], 53),
        ([LEFT, DOWN, DOWN], 50),
        ([PAGE_UP], 60),
        ([PAGE_DOWN, PAGE_DOWN], 40),
        ([HOME], 0),
        ([LEFT], 0),
        ([END], 100),
        ([RIGHT, LEFT], 99),
    ):
        browser.press(*keys)
        assert value(browser) == expected
        start, _, width, _ = shown(browser)
        left, _, size, _ = browser.box(SLIDER)
        assert left + size / 2 - start == pytest.approx(width * expected / 100, abs=1)


def test_everything_is_reached_with_tab(compared):
    browser = compared()
    browser.run("document.activeElement.blur()")
    seen = []
    for _ in range(7):
        browser.press(TAB)
        seen.append(
            browser.run(
                "const each = document.activeElement;"
                "return each.id || each.dataset.zoom || each.dataset.view"
            )
        )
    assert seen == ["slider", "beside", "fit", "1", "2", "4", "divider"]


def test_end_shows_a_alone_and_home_b(compared, tmp_path):
    browser = compared()
    for key, colour in ((END, RED), (HOME, BLUE)):
        browser.press(key)
        assert colours(browser, tmp_path / "page.png", 0.1, 0.9) == [colour, colour]


@pytest.mark.parametrize("kind", ["mouse", "touch", "pen"])
@pytest.mark.parametrize("grip", [SLIDER, "picture"])
def test_pointer_drags_the_divider(compared, kind, grip):
    browser = compared()
    left, top, width, height = (round(each) for each in shown(browser))
    start = middle(browser, SLIDER) if grip == SLIDER else (left + 30, top + 40)
    browser.drag(start, (round(left + width * 0.8), top + height // 2), kind)
    assert value(browser) == pytest.approx(80, abs=1)
    browser.drag(middle(browser, SLIDER), (left - 60, top + height // 2), kind)
    assert value(browser) == 0


@pytest.mark.parametrize("size", [(3000, 2000), (12, 8), (40, 300)])
def test_fit_fills_the_window_also_with_small_pictures(compared, size):
    browser = compared(size=size)
    room, picture = browser.box("#room"), whole(browser)
    assert min(room[2] / picture[2], room[3] / picture[3]) == pytest.approx(1, abs=0.01)
    assert max(picture[2] / room[2], picture[3] / room[3]) <= 1.001
    assert picture[2] / picture[3] == pytest.approx(size[0] / size[1], rel=0.01)


def test_one_to_one_shows_pixels(compared):
    browser = compared(size=(3000, 2000))
    fitted = whole(browser)
    browser.click("[data-zoom='1']")
    assert (is_pressed(browser, "1"), is_pressed(browser, "fit")) == ("true", "false")
    density = browser.run("return window.devicePixelRatio")
    assert whole(browser)[2] * density == pytest.approx(3000)
    assert browser.run("return document.querySelector('#scale').textContent") == "100 %"
    browser.click("[data-zoom='fit']")
    assert whole(browser) == pytest.approx(fitted, abs=1)


def test_the_wheel_zooms_where_it_points(compared):
    browser = compared(size=(3000, 2000))
    left, top, width, height = whole(browser)
    point = round(left + width * 0.6), round(top + height * 0.4)
    browser.wheel(point, -400)
    after = whole(browser)
    assert after[2] == pytest.approx(width * 2.2255, rel=0.01)  # e^0.8
    assert (point[0] - after[0]) / after[2] == pytest.approx(0.6, abs=0.002)
    assert (point[1] - after[1]) / after[3] == pytest.approx(0.4, abs=0.002)
    assert is_pressed(browser, "fit") == "false"
    for _ in range(6):
        browser.wheel(point, 1000)
    assert whole(browser) == pytest.approx([left, top, width, height], abs=1)
    assert browser.console() == []


def test_two_fingers_zoom(compared):
    browser = compared(size=(3000, 2000))
    _, _, width, _ = whole(browser)
    browser.pinch(middle(browser, "#room"), 100, 300)
    assert whole(browser)[2] == pytest.approx(3 * width, rel=0.05)
    assert value(browser) == pytest.approx(50, abs=20)


def test_keys_zoom(compared):
    browser = compared(size=(3000, 2000))
    _, _, width, _ = whole(browser)
    browser.press("+", "+")
    assert whole(browser)[2] == pytest.approx(width * 1.25**2, rel=0.01)
    browser.press("-")
    assert whole(browser)[2] == pytest.approx(width * 1.25, rel=0.01)
    browser.press("0")
    assert whole(browser)[2] == pytest.approx(width, rel=0.01)


def test_enlarged_the_mouse_pans_and_the_divider_stays_in_view(compared, tmp_path):
    browser = compared(size=(3000, 2000))
    browser.click("[data-zoom='2']")
    left, top, width, height = shown(browser)
    before = whole(browser)
    point = round(left + width * 0.8), round(top + height * 0.6)
    browser.drag(point, (point[0] - 100, point[1]))
    assert before[0] - whole(browser)[0] == pytest.approx(100, abs=1)
    assert value(browser) == 50
    for found, colour in zip(
        colours(browser, tmp_path / "a.png", 0.25, 0.75), (RED, BLUE), strict=True
    ):
        assert found == pytest.approx(colour, abs=2)  # embedded as JPEG, at this size
    browser.drag(middle(browser, SLIDER), (round(left + width * 0.2), round(top + height / 2)))
    assert value(browser) == pytest.approx(20, abs=2)


def test_several_results_side_by_side(compared, tmp_path):
    browser = compared(size=(40, 30), window=(1200, 500), more=True)
    browser.click("[data-view='beside']")
    assert browser.run("return document.querySelectorAll('.pane').length") == 3
    shot = browser.screenshot(tmp_path / "page.png")
    boxes = [shown(browser, number) for number in range(3)]
    middles = [(round(b[0] + b[2] / 2), round(b[1] + b[3] / 2)) for b in boxes]
    assert [shot.getpixel(each) for each in middles] == [RED, BLUE, GREEN]
    browser.wheel(middles[1], -400)
    sizes = browser.run(
        "return [...document.querySelectorAll('.picture')]"
        ".map((each) => each.getBoundingClientRect().width)"
    )
    assert len(set(sizes)) == 1 and sizes[0] > 1.5 * boxes[0][2]
    assert browser.console() == []


def test_any_result_can_be_chosen_for_either_side(compared, tmp_path):
    browser = compared(more=True)

    def choose(side, index):
        browser.run(
            "const s = document.querySelector(`#${arguments[0]}-choice`);"
            "s.value = arguments[1]; s.dispatchEvent(new Event('change'))",
            side,
            str(index),
        )
        return colours(browser, tmp_path / "page.png", 0.25, 0.75)

    assert choose("right", 2) == [RED, GREEN]
    assert choose("left", 1) == [BLUE, GREEN]
    assert choose("left", 2) == [GREEN, BLUE]  # they change places
    text = browser.run("return document.querySelector('#divider').ariaValueText")
    assert text == "50 % C, 50 % B"


def test_a_narrow_window(compared):
    browser = compared(size=(12, 8), window=(500, 600))
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
    page.write_bytes(compare_page([before, after]).html)
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
    target = browser.run("return document.querySelector('.links a').href")
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


def test_report_slides_between_before_and_after(browser, picture, tmp_path):
    before, after = picture("a.png", (30, 20), RED), picture("a_4x.png", (120, 80), BLUE)
    page = tmp_path / "page.html"
    page.write_bytes(report_page(Batch((Entry(before, after, "done", 1.0),)), tmp_path, page, 64))
    browser.open(page)
    left, top, width, height = browser.box(".pair")

    def seen():
        shot = browser.screenshot(tmp_path / "page.png")
        row = round(top + height * 0.75)
        colours = [shot.getpixel((round(left + width * x), row)) for x in (0.1, 0.4, 0.6, 0.9)]
        return ["red" if red > 200 else "blue" if blue > 200 else "" for red, _, blue in colours]

    assert seen() == ["red", "red", "blue", "blue"]
    browser.drag(middle(browser, ".pair"), (round(left + width * 0.75), round(top + height / 2)))
    assert seen() == ["red", "red", "red", "blue"]
    browser.press(HOME)
    assert seen() == ["blue"] * 4
    role, name = browser.role(".pair input")
    assert (role, "a.png" in name) == ("slider", True)
    assert browser.console() == []
