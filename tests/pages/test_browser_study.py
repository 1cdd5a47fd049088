"""A preference study and an evaluation's page in a real browser."""

import json
from urllib.parse import quote

import pytest
from PIL import Image

from coser_cli.evaluation.preference import read_sessions, tally
from coser_cli.imageio.preview import data_uri
from coser_cli.pages.study import StudyPicture, study_page
from coser_cli.pages.template import page

pytestmark = pytest.mark.slow
RED, BLUE = (255, 0, 0), (0, 0, 255)
LEFT, RIGHT, DOWN, BACKSPACE = "\ue012", "\ue014", "\ue015", "\ue003"


@pytest.fixture
def study(browser, picture, tmp_path):
    """A page about six pictures, red results against blue ones, opened anew."""
    pictures = [
        StudyPicture(
            f"p{index}",
            {"red": picture(f"r{index}.png", (60, 40), RED),
             "blue": picture(f"b{index}.png", (60, 40), BLUE)},
            picture(f"s{index}.png", (15, 10), (0, 128, 0)),
        )
        for index in range(6)
    ]  # fmt: skip
    page = tmp_path / "study.html"
    found = study_page(pictures, "Which </script> is better?", 64)
    page.write_bytes(found.html)
    browser.open(page)
    browser.run("localStorage.clear()")
    browser.open(page)
    return browser


def exported(browser):
    return json.loads(browser.run("return document.querySelector('#text').value"))


def side_of(browser, path, colour):
    """Where a colour is seen: left or right."""
    left, top, width, height = browser.box(".pair")
    shot = browser.screenshot(path)
    places = {
        name: round(left + width * share) for name, share in (("left", 0.25), ("right", 0.75))
    }
    found = [n for n, x in places.items() if shot.getpixel((x, round(top + height / 2))) == colour]
    assert len(found) == 1
    return found[0]


def test_from_the_first_pair_to_the_count(study, tmp_path):
    """Who always takes red is counted so, on whatever side it was."""
    assert study.run("return document.querySelector('h1').textContent").startswith(
        "Which </script>"
    )
    study.run("document.querySelector('#participant').value = ' Ann '")
    study.click("#begin")
    visible = (
        "return [...document.querySelectorAll('section')]"
        ".filter((each) => each.offsetHeight).map((each) => each.id)"
    )
    for number in range(6):
        assert study.run(visible) == ["trial"]
        assert (
            study.run("return document.querySelector('#count').textContent") == f"{number + 1} of 6"
        )
        side = side_of(study, tmp_path / "shot.png", RED)
        if number == 2:
            study.press(DOWN)
        elif number % 2:
            study.press(LEFT if side == "left" else RIGHT)
        else:
            study.click(f"[data-choice={side}]")
    assert study.run(visible) == ["end"]
    answer = exported(study)
    assert answer["participant"] == "Ann"
    assert sorted(each["picture"] for each in answer["choices"]) == [f"p{n}" for n in range(6)]
    path = tmp_path / "ann.json"
    path.write_text(json.dumps(answer))
    (found,) = tally(read_sessions([path]))
    assert (found.first, found.wins, found.losses, found.equal) == ("blue", 0, 5, 1)
    assert study.console() == []


def test_order_and_sides_differ_between_participants(study):
    orders = set()
    for _ in range(4):
        study.run("document.querySelector('#begin').click()")
        for _ in range(6):
            study.run("document.querySelector('[data-choice=equal]').click()")
        choices = exported(study)["choices"]
        orders.add(tuple((each["picture"], each["left"]) for each in choices))
        study.click("#next")
    assert len(orders) == 4


def test_a_choice_is_taken_back_and_a_reload_loses_nothing(study):
    study.click("#begin")
    study.press(LEFT)
    study.press(RIGHT)
    study.press(BACKSPACE)
    assert study.run("return document.querySelector('#count').textContent") == "2 of 6"
    study.run("location.reload()")
    assert study.run("return document.querySelector('#count').textContent") == "2 of 6"
    study.click("#back")
    assert study.run("return document.querySelector('#count').textContent") == "1 of 6"


def test_no_method_is_named_where_people_look(study):
    study.click("#begin")
    text = study.run("return document.body.innerText + document.querySelector('#left').alt")
    assert "red" not in text and "blue" not in text


def test_choices_are_saved_as_a_file(study):
    study.run("document.querySelector('#begin').click()")
    for _ in range(6):
        study.run("document.querySelector('[data-choice=equal]').click()")
    study.run(
        "window.saved = [];"
        "HTMLAnchorElement.prototype.click ="
        " function () { saved.push([this.download, this.href]); }"
    )
    study.click("#save")
    ((name, address),) = study.run("return saved")
    assert name.startswith("study-") and name.endswith(".json")
    assert address.startswith("blob:")


def test_a_held_picture_is_seen_at_full_size(study):
    study.click("#begin")
    fit = "return getComputedStyle(document.querySelector('#right')).objectFit"
    assert study.run(fit) == "contain"
    left, top, _, height = study.box(".pair")
    point = {"type": "pointerMove", "x": round(left + 50), "y": round(top + height / 2)}
    steps = [point | {"duration": 0}, {"type": "pointerDown", "button": 0}]
    study._send("POST", "/actions", {"actions": [{"type": "pointer", "id": "m", "actions": steps}]})
    assert study.run(fit) == "none"
    study._send("DELETE", "/actions")
    assert study.run(fit) == "contain"


def test_the_page_of_an_evaluation(browser, tmp_path):
    square = '<rect width="9" height="9"/>'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20">{square}</svg>'
    uri = f"data:image/svg+xml,{quote(svg)}"
    images = [("<i>left</i>", Image.new("RGB", (50, 40), RED))] * 2
    rows = [("<script>window.ran = 1</script>", "26.0")]
    html = page(
        "evaluation",
        title="Title",
        facts=["fact"],
        tables=[{"title": "Set", "heads": ("method", "psnr_y"), "rows": rows, "soft": ""}],
        plots=[{"words": "plot", "uri": uri}],
        cases=[{"title": "a <b>", "facts": "psnr_y +1", "images": images}],
        data_uri=data_uri,
    )
    file = tmp_path / "page.html"
    file.write_bytes(html)
    browser.open(file)
    assert browser.run("return window.ran ?? 0") == 0
    assert browser.run("return [...document.images].every((each) => each.naturalWidth > 0)")
    small = browser.box("figure img")
    browser.click("figure img")
    assert browser.box("figure + figure img")[2:] == [2 * side for side in small[2:]]
    browser.click("figure img")
    assert browser.box("figure img")[2:] == small[2:]
    assert browser.console() == []
