"""Pictures for pages, and a headless Chromium driven by the plain WebDriver protocol."""

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import Image

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
# Not through a proxy: the driver runs here.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


@pytest.fixture
def picture(tmp_path):
    """`picture(name, size, colour)`: a picture file; noise where no colour is given."""

    def make(name="a.png", size=(12, 8), colour=None, **options):
        if colour is None:
            shape = (size[1], size[0], 3)
            values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
            image = Image.fromarray(values)
        else:
            image = Image.new("RGB", size, colour)
        path = tmp_path / name
        image.save(path, **options)
        return path

    return make


class Browser:
    """One WebDriver session."""

    def __init__(self, root, chromium, profile):
        self.root = root
        arguments = [*FLAGS, f"--user-data-dir={profile}"]
        options = {"binary": chromium, "args": arguments}
        logging = {"browser": "ALL"}
        capabilities = {"goog:chromeOptions": options, "goog:loggingPrefs": logging}
        answer = self._send("POST", "", {"capabilities": {"alwaysMatch": capabilities}})
        self.session = f"/{answer['sessionId']}"

    def _send(self, method, path, body=None):
        session = getattr(self, "session", "")
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.root}/session{session}{path}",
            data,
            {"Content-Type": "application/json"},
            method=method,
        )
        try:
            with OPENER.open(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from None

    def open(self, path, size=(1000, 700)):
        """Open a file at a window of this size."""
        self._send("POST", "/window/rect", {"width": size[0], "height": size[1]})
        self._send("POST", "/url", {"url": path.absolute().as_uri()})

    def run(self, script, *values):
        """What `script` returns, with `arguments` in it."""
        return self._send("POST", "/execute/sync", {"script": script, "args": list(values)})

    def find(self, selector):
        found = self._send("POST", "/element", {"using": "css selector", "value": selector})
        return found[ELEMENT]

    def click(self, selector):
        self._send("POST", f"/element/{self.find(selector)}/click", {})

    def role(self, selector):
        """Role and name, as the accessibility tree has them."""
        element = f"/element/{self.find(selector)}"
        return tuple(
            self._send("GET", f"{element}/{what}") for what in ("computedrole", "computedlabel")
        )

    def press(self, *keys):
        """Keys into what has the focus."""
        strokes = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._send(
            "POST", "/actions", {"actions": [{"type": "key", "id": "k", "actions": strokes}]}
        )

    def drag(self, start, end, kind="mouse"):
        """The pointer from one point of the window to another."""
        steps = [
            {"type": "pointerMove", "x": start[0], "y": start[1], "duration": 0},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerMove", "x": (start[0] + end[0]) // 2, "y": end[1], "duration": 50},
            {"type": "pointerMove", "x": end[0], "y": end[1], "duration": 50},
            {"type": "pointerUp", "button": 0},
        ]
        pointer = {"type": "pointer", "id": kind, "parameters": {"pointerType": kind}}
        self._send("POST", "/actions", {"actions": [pointer | {"actions": steps}]})

    def wheel(self, point, delta):
        """The wheel over a point of the window; negative is up."""
        scroll = {"type": "scroll", "x": point[0], "y": point[1], "deltaX": 0, "deltaY": delta}
        steps = [scroll | {"duration": 0, "origin": "viewport"}]
        self._send(
            "POST", "/actions", {"actions": [{"type": "wheel", "id": "w", "actions": steps}]}
        )

    def pinch(self, middle, before, after):
        """Two fingers left and right of a point of the window, from one distance to another."""
        fingers = []
        for name, sign in (("one", -1), ("two", 1)):
            places = [
                middle[0] + sign * each // 2 for each in (before, (before + after) // 2, after)
            ]
            moves = [
                {"type": "pointerMove", "x": x, "y": middle[1], "duration": 40 if index else 0}
                for index, x in enumerate(places)
            ]
            steps = [moves[0], {"type": "pointerDown", "button": 0}, *moves[1:]]
            steps.append({"type": "pointerUp", "button": 0})
            pointer = {"type": "pointer", "id": name, "parameters": {"pointerType": "touch"}}
            fingers.append(pointer | {"actions": steps})
        self._send("POST", "/actions", {"actions": fingers})

    def box(self, selector):
        """Left, top, width, height of an element in the window."""
        script = (
            "const box = document.querySelector(arguments[0]).getBoundingClientRect();"
            "return [box.left, box.top, box.width, box.height];"
        )
        return self.run(script, selector)

    def screenshot(self, path):
        """The window as a picture, which is also written to `path`."""
        path.write_bytes(base64.b64decode(self._send("GET", "/screenshot")))
        return Image.open(path).convert("RGB")

    def console(self):
        """What the page has complained about."""
        return self._send("POST", "/se/log", {"type": "browser"})

    def close(self):
        self._send("DELETE", "")


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A headless Chromium; the test is skipped where there is none."""
    chromium = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs Chromium and chromedriver on the PATH")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        root = f"http://127.0.0.1:{port}"
        wait_for(f"{root}/status")
        browser = Browser(root, chromium, tmp_path_factory.mktemp("profile"))
        yield browser
        browser.close()
    finally:
        process.terminate()
        process.wait(timeout=20)


def wait_for(url, seconds=30):
    """Until something answers."""
    end = time.monotonic() + seconds
    while True:
        try:
            OPENER.open(url, timeout=5).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
