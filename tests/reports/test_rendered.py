"""The report as a browser shows it: at two widths, light and dark. Skipped without Chromium."""

import base64
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retarget.reports import html
from retarget.runs.schema import RunRecord

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip

# The browser expects its pipe at descriptors 3 and 4; duplicates first, as ours may be those.
ON_THREE_AND_FOUR = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for place, end in enumerate(ends, 3):
    os.dup2(end, place)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """A headless Chromium, spoken to over a pipe in its DevTools protocol."""

    def __init__(self, program: str, profile: str) -> None:
        read_by_browser, self._write = os.pipe()
        self._read, written_by_browser = os.pipe()
        ends = (str(read_by_browser), str(written_by_browser))
        command = [sys.executable, "-c", ON_THREE_AND_FOUR, *ends, program, *FLAGS]
        command.append(f"--user-data-dir={profile}")
        self._process = subprocess.Popen(
            command, pass_fds=(read_by_browser, written_by_browser), stderr=subprocess.DEVNULL
        )
        os.close(read_by_browser)
        os.close(written_by_browser)
        self._session = ""
        self._buffer, self._last, self.events = b"", 0, list[dict[str, Any]]()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = str(attached["sessionId"])
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._last:
                assert "error" not in answer, answer
                return dict(answer["result"])
            self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            some = os.read(self._read, 1 << 20)
            assert some, "the browser has gone"
            self._buffer += some
        one, self._buffer = self._buffer.split(b"\0", 1)
        return dict(json.loads(one))

    def show(self, page: Path, width: int, dark: bool = False) -> None:
        """Open a page and wait until it is loaded."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=900, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.call("Page.navigate", url=page.as_uri())
        while not any(e.get("method") == "Page.loadEventFired" for e in self.events):
            self.events.append(self._next())

    def ask(self, script: str) -> Any:
        """Return what a script evaluates to, in the page but not of it."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self) -> bytes:
        """Return the whole page as a PNG."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(shot["data"])

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)
        os.close(self._read)
        os.close(self._write)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = next((path for name in NAMES if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium here: install one to see reports rendered")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        opened = Browser(program, profile)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def pages(
    records: dict[str, RunRecord], run_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    return {
        name: html.write(record, run_folder, folder / f"{name}.html")
        for name, record in records.items()
    }


KINDS = (
    "classification",
    "regression",
    "multilabel",
    "hostile",
    "bare",
    "many",
    "tuned",
    "texts",
    "tags",
)
WIDTHS = (320, 390, 1280)

OVERFLOWING = """
(() => {
  const wide = document.documentElement.clientWidth;
  const boxes = '.scroll, pre, svg, .visually-hidden';
  const inBox = e => e.parentElement && e.parentElement.closest(boxes);
  const bad = [...document.body.querySelectorAll('*')].filter(e => {
    if (inBox(e) || e.matches('.visually-hidden')) return false;
    const box = e.getBoundingClientRect();
    return box.width > 0 && (box.right > wide + 1 || box.left < -1);
  });
  const page = document.documentElement.scrollWidth - wide;
  return [page, bad.map(e => e.tagName + '.' + e.className + ': ' + e.textContent.slice(0, 60))];
})()
"""

OVERLAPPING = """
(() => {
  const found = [];
  for (const plot of document.querySelectorAll('svg.plot')) {
    const frame = plot.getBoundingClientRect();
    const texts = [...plot.querySelectorAll('text')];
    const boxes = texts.map(t => t.getBoundingClientRect());
    boxes.forEach((a, i) => {
      const name = plot.querySelector('title').textContent + ' | ' + texts[i].textContent;
      if (a.left < frame.left - 1 || a.right > frame.right + 1) found.push('outside: ' + name);
      boxes.forEach((b, j) => {
        if (j > i && a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3
            && b.top < a.bottom - 3) found.push('over: ' + name + ' | ' + texts[j].textContent);
      });
    });
  }
  return found;
})()
"""

SMALLEST_TEXT = """
Math.min(...[...document.querySelectorAll('svg.plot text')].map(t => {
  const plot = t.closest('svg');
  return parseFloat(getComputedStyle(t).fontSize) * plot.getBoundingClientRect().width
    / plot.viewBox.baseVal.width;
}))
"""

CONTRASTS = """
(() => {
  const parse = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const over = (top, under) => {
    const a = top.length > 3 ? top[3] : 1;
    return [0, 1, 2].map(i => top[i] * a + under[i] * (1 - a));
  };
  const light = c => c.slice(0, 3).map(v => v / 255)
    .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
  const behind = e => {
    const chain = [];
    for (let n = e; n; n = n.parentElement) chain.unshift(getComputedStyle(n).backgroundColor);
    return chain.reduce((under, c) => over(parse(c), under), [255, 255, 255]);
  };
  const low = new Set();
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || e.closest('title, .visually-hidden')) continue;
    const style = getComputedStyle(e), under = behind(e);
    const ink = e.closest('svg') ? style.fill : style.color;
    const [a, b] = [light(over(parse(ink), under)), light(under)];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) low.add(e.tagName + '.' + (e.getAttribute('class') || '') + ' '
      + ratio.toFixed(2) + ' ' + e.textContent.slice(0, 30));
  }
  return [...low];
})()
"""


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_wider_than_the_page(
    browser: Browser, pages: dict[str, Path], kind: str, width: int
) -> None:
    browser.show(pages[kind], width)
    page, elements = browser.ask(OVERFLOWING)
    assert page == 0
    assert elements == []


@pytest.mark.parametrize("kind", KINDS)
def test_words_in_plots_neither_overlap_nor_leave_them(
    browser: Browser, pages: dict[str, Path], kind: str
) -> None:
    for width in (390, 1280):
        browser.show(pages[kind], width)
        assert browser.ask(OVERLAPPING) == []


def test_words_in_plots_can_be_read_on_a_phone(browser: Browser, pages: dict[str, Path]) -> None:
    browser.show(pages["classification"], 390)
    assert browser.ask(SMALLEST_TEXT) >= 9.5


def test_words_about_trainings_are_larger_still(browser: Browser, pages: dict[str, Path]) -> None:
    browser.show(pages["tuned"], 390)
    assert browser.ask(SMALLEST_TEXT.replace("svg.plot", ".narrow svg.plot")) >= 11.5
    assert browser.ask("document.querySelectorAll('.narrow svg.plot').length") == 7


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("kind", ["classification", "regression", "multilabel", "tuned", "tags"])
def test_text_has_contrast_of_at_least_four_and_a_half(
    browser: Browser, pages: dict[str, Path], kind: str, dark: bool
) -> None:
    browser.show(pages[kind], 1280, dark)
    assert browser.ask(CONTRASTS) == []


@pytest.mark.parametrize("kind", KINDS)
def test_page_asks_for_nothing_and_complains_of_nothing(
    browser: Browser, pages: dict[str, Path], kind: str
) -> None:
    browser.show(pages[kind], 1280)
    browser.ask("1")
    asked = [
        e["params"]["request"]["url"]
        for e in browser.events
        if e.get("method") == "Network.requestWillBeSent"
    ]
    outside = [url for url in asked if not url.startswith("data:image/")]
    assert outside == [pages[kind].as_uri()]
    complaints = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded",
                  "Page.javascriptDialogOpening")  # fmt: skip
    assert [e for e in browser.events if e.get("method") in complaints] == []


SUSPECT = """
(() => {
  const all = [...document.querySelectorAll('*')];
  const handler = e => [...e.attributes].some(a => a.name.startsWith('on'));
  const leads = e => {
    const to = e.getAttribute('href') || e.getAttribute('src') || '#';
    return !to.startsWith('#') && !to.startsWith('data:image/');
  };
  return all.filter(e => e.matches('script, iframe, object, embed, form, base, link')
    || handler(e) || leads(e)).map(e => e.outerHTML.slice(0, 80));
})()
"""


def test_hostile_text_makes_no_script_no_link_and_no_handler(
    browser: Browser, pages: dict[str, Path]
) -> None:
    browser.show(pages["hostile"], 1280)
    assert browser.ask(SUSPECT) == []
    assert "<script>alert(1)</script>" in browser.ask("document.body.innerText")


def test_pictures_of_mistakes_are_shown(browser: Browser, pages: dict[str, Path]) -> None:
    browser.show(pages["classification"], 1280)
    widths = browser.ask("[...document.images].map(i => i.naturalWidth)")
    assert len(widths) == 8
    assert set(widths) == {96}


@pytest.mark.parametrize("width", [390, 1280])
def test_the_picture_of_the_page_is_not_blank_and_dark_in_the_dark(
    browser: Browser, pages: dict[str, Path], width: int
) -> None:
    shades = {}
    for dark in (False, True):
        browser.show(pages["classification"], width, dark)
        picture = np.asarray(Image.open(io.BytesIO(browser.screenshot())).convert("L"))
        assert picture.shape[1] == width
        rows = picture[: len(picture) // 20 * 20].reshape(20, -1)
        assert (rows.std(axis=1) > 1).all()
        shades[dark] = float(np.median(picture))
    assert shades[False] > 200
    assert shades[True] < 60
