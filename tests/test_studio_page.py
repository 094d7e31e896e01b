"""The page of the studio in a browser, on the bundled model: what a person does there, by phone or by keyboard."""

import gc
import json
import re
import shutil
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from PIL import Image, ImageDraw
from test_studio import WORDS

from motionclone.studio import making
from motionclone.studio.making import ModelChoice, load_engine
from motionclone.studio.serving import served

pytestmark = pytest.mark.filterwarnings(
    "ignore::motionclone.errors.GuidanceWarning", "ignore::DeprecationWarning", "ignore::ResourceWarning"
)

_SEEN = """() => {
  const style = getComputedStyle(document.activeElement), around = document.activeElement.closest("label");
  const shows = ({outlineStyle, boxShadow, borderColor}) => outlineStyle !== "none" || boxShadow !== "none";
  return shows(style) || (around !== null && shows(getComputedStyle(around)));
}"""
_NAMED = """() => {
  const at = document.activeElement;
  return at.ariaLabel || at.innerText || at.labels?.[0]?.innerText || at.getAttribute("placeholder") || at.outerHTML;
}"""


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """A studio that is served: its address and folder, and `again` to stop it and serve it anew."""
    pytest.importorskip("gradio", reason="needs motionclone[web]")
    folder, choice = tmp_path_factory.mktemp("page") / "studio", ModelChoice(device="cpu")
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        for name in ("GRADIO_ANALYTICS_ENABLED", "GRADIO_TEMP_DIR"):
            patch.setenv(name, "")
        engine = load_engine(choice)
        patch.setattr(making, "load_engine", lambda choice: engine)
        found = SimpleNamespace(folder=folder, port=None)

        def again():
            stack.close()
            found.address = stack.enter_context(served(choice, folder, port=found.port))
            found.port = urlsplit(found.address).port  # where a browser knows what it was shown

        found.again = again
        again()
        yield found
    gc.collect()  # servers and browsers leave loops and sockets to it, which is not to be told of another test


@pytest.fixture(scope="module")
def browser():
    """Chromium, as Debian has it."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright, to drive a browser")
    place = shutil.which("chromium")
    if place is None:
        pytest.skip("needs chromium")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=place, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def opened(studio, browser):
    """Open the page of the studio in a window of its own."""
    with ExitStack() as stack:

        def opened(**window):
            page = stack.enter_context(browser.new_context(**window)).new_page()
            page.set_default_timeout(90_000)
            page.hosts, page.errors = set(), []
            page.on("request", lambda request: page.hosts.add(request.url.split("/")[2]))
            page.on("pageerror", lambda error: page.errors.append(str(error)))
            page.goto(studio.address)
            page.get_by_role("img", name="frame 16 of 16").wait_for()
            return page

        yield opened


def violations(page):
    """What axe finds against WCAG 2 A and AA."""
    pytest.importorskip("axe_playwright_python", reason="needs axe-playwright-python, which has axe-core")
    page.evaluate((Path(find_spec("axe_playwright_python").origin).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']})")["violations"]
    return [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found]


def job_of(page):
    """What the shown job's record says."""
    with page.expect_download() as taken:
        page.get_by_role("link", name="Record").click()
    return json.loads(taken.value.path().read_text())


def test_a_person_makes_a_video_on_a_phone(studio, opened, clip, tmp_path):
    page = opened(viewport={"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") == 390

    # What is none is told in the page, and the page goes on.
    upload, no_clip = page.locator("#mc-clip input[type=file]"), tmp_path / "none.mp4"
    no_clip.write_bytes(b"no clip at all")
    upload.set_input_files(no_clip)
    page.get_by_role("alert").filter(has_text="none.mp4 cannot be read as a video").wait_for()
    page.get_by_role("button", name="Make the video").click()
    page.locator("#mc-go").get_by_role("alert").wait_for()
    assert violations(page) == []
    page.get_by_label("Remove").or_(page.get_by_label("Clear")).first.click()
    page.get_by_role("img", name="frame 16 of 16").wait_for()
    upload.set_input_files(clip)
    page.get_by_role("img", name="frame 10 of 10").wait_for()

    # A box is drawn in the picture, and the end is cut off; the frames that will be read follow.
    at = page.locator(".mc-whole").bounding_box()
    page.mouse.move(at["x"] + 0.1 * at["width"], at["y"] + 0.2 * at["height"])
    page.mouse.down()
    page.mouse.move(at["x"] + 0.6 * at["width"], at["y"] + 0.7 * at["height"])
    page.mouse.up()
    page.get_by_label("End", exact=True).fill("144")
    page.get_by_role("img", name="frame 7 of 7").wait_for()

    # A long job is cancelled within a step; while it runs, it is seen how far it is and where it is heading.
    page.get_by_role("button", name="More settings").click()
    page.get_by_label("Steps").first.fill("300")
    page.get_by_role("button", name="Make the video").click()
    page.get_by_text(re.compile(r"step \d+ of 300, about .* left")).wait_for()
    assert int(page.get_by_role("progressbar").get_attribute("aria-valuenow")) < 100
    page.locator(".mc-curve polyline").wait_for(state="attached")
    page.locator(".mc-preview img").wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("status").filter(has_text="Cancelled.").wait_for(state="attached")

    page.get_by_label("Steps").first.fill("2")
    page.get_by_role("button", name="Make the video").click()
    page.get_by_role("link", name="Record").wait_for()
    page.wait_for_function("[...document.querySelectorAll('video')].every(v => v.readyState === 4 && !v.error)")
    assert page.locator("video").count() == 3
    source = job_of(page)["motion"]["source"]
    assert source["crop"] == pytest.approx([0.1, 0.2, 0.6, 0.95], abs=0.02)  # a square of a clip of 3:2
    assert (source["start"], source["end"]) == (0.0, pytest.approx(0.65, abs=0.01))

    # Frame by frame, all videos stand at the same one; one is wiped over another.
    page.get_by_label("One frame on").click()
    page.get_by_label("One frame on").click()
    times = page.evaluate("[...document.querySelectorAll('video')].map(video => [video.paused, video.currentTime])")
    assert len({(paused, round(at, 2)) for paused, at in times}) == 1
    assert times[0][0]
    page.get_by_role("button", name="Wipe").click()
    page.get_by_label("Where the two videos meet").fill("20")
    over = "getComputedStyle(document.querySelector('[data-video=video]')).clipPath"
    assert page.evaluate(over) == "inset(0px 0px 0px 20%)"
    assert [figure.is_visible() for figure in page.locator("figure[data-video]").all()] == [True, True, False]
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert violations(page) == []

    # What is none in a control of numbers is told in place; an emptied one is as the model has it.
    page.get_by_label("Frames/s (0: even)").fill("-3")
    page.locator("#mc-seen").get_by_role("alert").filter(has_text="Fps: Input should be greater than 0.").wait_for()
    page.get_by_label("Frames/s (0: even)").fill("")
    page.get_by_label("number input for Frames").fill("")
    page.get_by_role("img", name="frame 7 of 7").wait_for()
    page.get_by_label("number input for Frames").fill("16")
    assert page.get_by_test_id("toast-body").count() == 0

    # Other frames make another video, and the first one is laid over it: the shorter one waits at its end.
    page.get_by_label("Frames/s (0: even)").fill("5")
    page.get_by_role("img", name="frame 4 of 4").wait_for()
    page.get_by_label("number input for Frames").fill("2")
    page.get_by_role("img", name="frame 2 of 2").wait_for()
    page.get_by_role("button", name="Make the video").click()
    page.get_by_text("1 / 2").or_(page.get_by_text("2 / 2")).wait_for()
    record = job_of(page)
    assert (record["motion"]["source"]["asked_fps"], record["settings"]["sampling"]["num_frames"]) == (5.0, 2)
    page.get_by_role("button", name="Wipe").click()
    others = page.get_by_label("On the right").get_by_role("option", name=f"Strength 1, seed 0: {WORDS} (")
    page.get_by_label("On the right").select_option(others.inner_text())
    page.get_by_text(" / 4").wait_for()  # 0.7 s
    page.get_by_label("Frame", exact=True).fill("4")
    page.wait_for_function("[...document.querySelectorAll('video')].every(v => v.paused && !v.seeking)")
    times = page.evaluate("[...document.querySelectorAll('video')].map(video => video.currentTime)")
    assert times == pytest.approx([0.4, 0.4, 0.4, 0.7], abs=0.01)
    assert [figure.is_visible() for figure in page.locator("figure[data-video]").all()] == [True, False, False, True]
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert violations(page) == []
    page.get_by_role("button", name="Side by side").click()
    assert page.locator("video").count() == 3

    page.get_by_label(f"Winner: {WORDS}").first.click()
    page.locator(".mc-chosen").wait_for()
    studio.again()  # it has been stopped; the page opens again with its job and all that was made
    page.goto(studio.address)
    page.get_by_role("link", name="Record").wait_for()
    assert page.locator(".mc-card").count() == 3
    page.get_by_label("Winners only").check()
    assert [card.is_visible() for card in page.locator(".mc-card").all()] == [True, False, False]
    page.get_by_role("button", name="Edit").click()
    page.get_by_role("img", name="frame 2 of 2").wait_for()
    page.get_by_role("button", name="More settings").click()
    assert page.get_by_label("Frames/s (0: even)").input_value() == "5"
    assert page.locator(".mc-edit").get_attribute("data-box").startswith("0.1")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete").click()
    page.get_by_text("Your video appears here").wait_for()
    assert len(list((studio.folder / "jobs").iterdir())) == 2
    assert page.hosts == {studio.address.split("/")[2]}
    assert page.errors == []


def test_a_person_needs_no_mouse_and_may_like_it_dark(opened, tmp_path):
    page = opened(viewport={"width": 1680, "height": 1000}, color_scheme="dark", reduced_motion="reduce")
    assert violations(page) == []
    assert page.locator("[data-film=play]").inner_text() == "Play"  # nothing moves unasked

    # From the top on, every stop of Tab is named and seen, in the order in which one works.
    stops = []
    for _ in range(40):
        page.keyboard.press("Tab")
        stops.append(page.evaluate(_NAMED).strip().partition("\n")[0])
        assert page.evaluate(_SEEN), stops[-1]
        if stops[-1] == "Make the video":
            break
    wanted = ["Round in a circle", "What it shows", "More settings", "Make the video"]
    assert [stop for stop in stops if stop in wanted] == wanted

    page.get_by_label("Round in a circle").first.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('input[value=\"There and back\"]').checked")
    page.get_by_role("button", name="Start from a picture").press("Enter")
    drawing = Image.new("L", (64, 64), 255)
    ImageDraw.Draw(drawing).ellipse((16, 16, 48, 48), outline=0, width=4)
    drawing.save(tmp_path / "ring.png")
    page.locator("#mc-pictures input[type=file]").last.set_input_files(tmp_path / "ring.png")
    page.locator("#mc-pictures").get_by_text("ring").first.wait_for()
    page.get_by_role("button", name="More settings").press("Enter")
    page.get_by_label("Steps").first.fill("2")
    page.get_by_label("What it shows").fill("a green ring")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Record").wait_for()
    record = job_of(page)
    assert (record["prompt"], record["motion"]["source"]["name"]) == ("a green ring", "reference.mp4")
    assert record["condition"]["source"][0]["kind"] == "sketch"
    page.get_by_role("button", name="Wipe").press("Enter")
    page.get_by_label("Where the two videos meet").press("ArrowRight")
    assert page.evaluate("document.querySelector('.mc-together').style.getPropertyValue('--at')") == "51%"
    assert violations(page) == []
    assert page.errors == []

    page.locator(".mc-star").first.press("Space")
    page.locator(".mc-chosen").wait_for()
    assert page.evaluate(_NAMED) == "Winner: a green ring"  # the focus stays, although the history was made anew

    # A clip's box and handles move by keys.
    video = tmp_path / "made.mp4"
    with page.expect_download() as taken:
        page.get_by_role("link", name="Video").press("Enter")
    taken.value.save_as(video)
    page.locator("#mc-clip input[type=file]").set_input_files(video)
    box = page.locator(".mc-box")
    box.press("-")
    assert page.locator(".mc-said").inner_text().endswith("93 % of its width.")
    box.press("ArrowLeft")
    box.press("Escape")
    assert page.locator(".mc-said").inner_text().endswith("the whole picture.")
    page.get_by_label("Start", exact=True).press("ArrowRight")
    page.wait_for_function("Number(document.querySelector('.mc-from').value) > 0")
