"""The report of an evaluation run, from a made-up folder whose numbers are worked out by hand."""

import json
import re
import shutil
from html.parser import HTMLParser

import pytest
import torch

from motionclone.errors import InputError
from motionclone.lab.report import write_report
from motionclone.media.writing import write_video

DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
VOID = {"meta", "link", "br", "img", "input", "hr"}
METHODS = [
    ("ceiling", "reference, re-encoded", "main", "ceiling"),
    ("unguided", "unguided", "main", "clone"),
    ("cloned", "cloned", "main", "clone"),
    ("k-2", "k = 2 | two", "k (Fig. 8)", "clone"),
    ("heat-200", "heat map at 200", "heat map (Fig. 3)", "heat map"),
]
PATHS = [0.9, 0.7, 0.5, 0.8]  # of "cloned" on its four object cases: median 0.75


def result(method, number, *, value=None):
    """One line; cases 0 to 3 move the object, the others the camera."""
    name = f"case-{number}"
    moving = number < 4
    scores = {
        "path": PATHS[number] if moving else None,
        "camera": None if moving else 0.25,
        "flow": number / 10,  # mean of 0 .. 7 tenths: 0.35
        "text": 0.25,
        "consistency": 0.9,
        "colour": float(number != 0),  # 7 of 8
    }
    if method == "unguided":
        scores |= {"path": None, "flow": float("nan")}
    if method == "k-2":
        scores |= {"flow": number / 10 + 0.125, "text": 0.25 + (-1) ** number / 10, "consistency": 0.8}
    if method == "heat-200":
        scores = {"heat": 0.5}
    if value is not None:
        scores["flow"] = value
    return {
        "method": method,
        "case": name,
        "key": "0",
        "video": f"videos/{method}/{name}.mp4",
        "scores": scores,
        "floor": {"flow": 0.01} if method == "cloned" else {},
        "embedding": [1.0, float(number)] if method != "heat-200" else None,
        "seconds": 1.0,
    }


def write_run(folder):
    """A finished run of eight cases, without its videos."""
    cases = [
        {
            "name": f"case-{i}",
            "motion": f"motion {i}",
            "kind": "object" if i < 4 else "camera",
            "prompt": "<script>alert('a|b')</script>" if i == 0 else f"prompt {i}",
            "reference": "/home/someone/clip.mp4",
        }
        for i in range(8)
    ]
    suite = {
        "suite": "paper",
        "model": "/home/someone/my-model",
        "motionclone": "0.1.0",
        "seed": 0,
        "libraries": {"torch": "2.0"},
        "dtype": None,
        "machine": "2 cores",
        "settings": {"guidance": {"weight": 20000.0}},
        "methods": [{"name": n, "label": la, "experiment": e, "about": "So.", "kind": k} for n, la, e, k in METHODS],
        "cases": cases,
    }
    (folder / "suite.json").write_text(json.dumps(suite))
    write_results(folder, [result(method, i) for method, *_ in METHODS for i in range(8)])
    return folder


def write_results(folder, lines):
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def folder(tmp_path):
    return write_run(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The report of a run with videos; not to be changed."""
    folder = write_run(tmp_path_factory.mktemp("run"))
    film = folder / "videos" / "reference" / "case-0.mp4"
    write_video(film, torch.linspace(-1, 1, 4 * 3 * 16 * 16).view(4, 3, 16, 16), 8.0)
    for name in ("reference", *(method for method, *_ in METHODS)):
        (folder / "videos" / name).mkdir(exist_ok=True)
        for i in range(8):
            if (name, i) != ("reference", 0):
                shutil.copy(film, folder / "videos" / name / f"case-{i}.mp4")
    return write_report(folder)


class Page(HTMLParser):
    """What a browser would see; complains of elements that are closed wrongly."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text += data


def rows(report, label):
    """The cells of every row of that label in the Markdown, table by table."""
    lines = report.markdown.read_text().splitlines()
    return [line.split(" | ")[1:] for line in lines if line.startswith(f"| {label} |")]


def test_numbers_are_those_worked_out_by_hand(finished):
    motion, looks, scores, *_ = rows(finished, "cloned")
    assert motion[0].startswith("0.75 [")
    assert motion[1] == "0.25 [0.25, 0.25]"
    assert motion[2].startswith("0.35 [")
    assert motion[3] == DASH
    assert looks[3].startswith("88% [")
    assert scores[:3] == motion[:3]
    assert rows(finished, "floor (cloned against an unrelated reference)")[0][2].startswith("0.01 [0.01, 0.01]")
    unguided = rows(finished, "unguided")[0]
    assert (unguided[0], unguided[2]) == (DASH, DASH)  # null and NaN
    assert rows(finished, "heat map at 200") == [["0.50 [0.50, 0.50] |"]]
    text = Page(finished.page.read_text()).text
    assert all(number in text for number in ("0.75", "0.35", "88%", "+0.12"))


def test_differences_are_paired_and_put_in_words(finished):
    difference = rows(finished, r"k = 2 \| two")[1]
    assert difference[0] == "+0.00 [+0.00, +0.00] (only 4 pairs)"
    assert difference[2] == "+0.12 [+0.12, +0.12] (higher)"
    assert difference[4].endswith("(no difference seen)")
    assert difference[5] == f"{MINUS}0.100 [{MINUS}0.100, {MINUS}0.100] (lower)"


def test_the_report_opens_with_a_verdict_and_the_videos(finished):
    text = finished.markdown.read_text()
    assert re.findall("^## (.*)", text, re.MULTILINE)[:3] == ["Verdict", "Videos", "What this is"]
    # Of the flow the unguided have nothing, and of the camera's both have the same: four pairs are too few.
    assert "Too few videos to say whether motion is cloned" in text


@pytest.mark.parametrize(
    ("unguided", "said"),
    [
        (-1.0, "Motion is cloned: by every measure"),
        (0.0, "Motion is not seen to be cloned"),
        (1.0, "Motion is not seen to be cloned"),
    ],
)
def test_the_verdict_is_that_of_paired_differences(folder, unguided, said):
    lines = [result("cloned", i, value=0.5) for i in range(8)]
    lines += [result("unguided", i, value=0.5 + unguided) for i in range(8)]
    write_results(folder, lines)
    text = write_report(folder).markdown.read_text()
    assert said in text
    assert f"dense flow 0.50 against {0.5 + unguided:.2f}".replace("-", MINUS) in text


def test_curves_are_compared_at_equal_words(folder):
    suite = json.loads((folder / "suite.json").read_text())
    curves = {"preset": "preset", "k = 4": "k (Fig. 8)"}
    suite["methods"] += [
        {
            "name": f"{curve}-{factor}",
            "label": "-",
            "experiment": where,
            "about": "So.",
            "curve": curve,
            "factor": factor,
        }
        for curve, where in curves.items()
        for factor in (0.5, 2.0)
    ]
    (folder / "suite.json").write_text(json.dumps(suite))
    points = {  # words, motion
        "ceiling": (0.5, 0.8),
        "unguided": (0.5, 0.0),
        "preset-0.5": (0.45, 0.4),
        "cloned": (0.4, 0.6),  # at .8 of the words .75 of the motion
        "preset-2.0": (0.3, 0.7),
        "k = 4-0.5": (0.45, 0.1),
        "k = 4-2.0": (0.35, 0.3),  # at .8 of the words, halfway, .25 of the motion
    }
    lines = [
        {**result(name, i), "scores": {"text": words, "camera_explained": motion, "path_explained": None}}
        for name, (words, motion) in points.items()
        for i in range(8)
    ]
    write_results(folder, [line for line in lines if line["method"] != "cloned"])
    assert "at equal words" not in write_report(folder).markdown.read_text()  # there is nothing to compare with yet
    refused = {"method": "preset-0.5", "case": "case-0", "outcome": "refused", "reason": "So it is."}
    others = [line for line in lines if line["method"] != "preset-0.5"]
    write_results(folder, [*others, *({**refused, "case": f"case-{i}"} for i in range(8))])
    assert "| preset | 1 | 0.75" in write_report(folder).markdown.read_text()
    write_results(folder, lines)
    report = write_report(folder)
    text = report.markdown.read_text()
    assert "| preset | 1 | 0.75" in text
    row = next(line for line in text.splitlines() if line.startswith("| k = 4 |"))
    assert row.startswith("| k = 4 | 1.2 | 0.25")
    assert row.endswith(f"| {MINUS}0.50 [{MINUS}0.50, {MINUS}0.50] (lower) |")
    assert report.page.read_text().count('id="curves1-') > 0


def test_two_cases_have_no_interval(folder):
    write_results(folder, [result(method, i) for method in ("cloned", "unguided") for i in (0, 1)])
    text = write_report(folder).markdown.read_text()
    assert "50%" in text
    assert not re.search(r"\d%? \[", text)


def test_the_page_is_sound_and_asks_for_nothing(finished):
    source = finished.page.read_text()
    page = Page(source)
    assert "script" not in page.tags
    assert page.text.count("<script>alert('a|b')</script>") == 2  # case by case, and above the videos
    assert page.tags.count("video") == 1 + 4  # the references and all but the ceiling
    assert page.tags.count("svg") == 3
    addresses = [value for name, value in page.attributes if name in ("src", "href", "xlink:href", "poster", "action")]
    assert all(address.startswith(("#", "data:")) for address in addresses)
    assert not re.search(r"@import|url\((?!#)", source)
    assert "http" not in re.sub(r'xmlns(:xlink)?="http://www\.w3\.org/[^"]*"', "", source)
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(set(ids)) == len(ids)
    used = {a[1:] for a in addresses if a.startswith("#")} | set(re.findall(r"url\(#([^)]*)\)", source))
    assert used <= set(ids)


def test_the_same_results_give_the_same_bytes_and_no_absolute_path(finished):
    folder = finished.page.parent
    first = [path.read_bytes() for path in finished]
    assert [path.read_bytes() for path in write_report(folder)] == first
    for data in first:
        assert b"my-model" in data
        assert str(folder).encode() not in data
        assert b"/home" not in data
    assert sorted(path.name for path in folder.iterdir()) == [
        "report.html",
        "report.md",
        "results.jsonl",
        "suite.json",
        "videos",
    ]


def test_an_unfinished_run_says_so(folder, finished):
    assert "not finished" not in finished.page.read_text()
    write_results(folder, [*(result("cloned", i) for i in range(3)), result("k-2", 0)])
    report = write_report(folder)
    for path in report:
        assert "This run is not finished: 4 of 40 videos are done." in path.read_text()
        assert "Not begun: reference, re-encoded, unguided, heat map at 200." in path.read_text()
    assert rows(report, "cloned")[0][2].startswith("0.10 [")  # of 0, 1 and 2 tenths
    assert rows(report, r"k = 2 \| two")[0][2] == "0.12 (1 of 3)"  # one value has no interval
    assert "video" not in Page(report.page.read_text()).tags


def test_torn_repeated_and_foreign_lines(folder, finished):
    lines = [result("cloned", i) for i in range(8)]
    write_results(folder, [result("cloned", 0, value=9.0), *lines, result("method of another suite", 0)])
    with (folder / "results.jsonl").open("a") as file:
        file.write(json.dumps(result("unguided", 1))[:50])
    report = write_report(folder)
    assert rows(report, "cloned") == rows(finished, "cloned")
    assert "2 lines of results.jsonl could not be used" in report.page.read_text()


def test_videos_are_of_every_kind_and_different_motions(folder):
    suite = json.loads((folder / "suite.json").read_text())
    named = [("object", i % 9) for i in range(18)] + [("camera", 10)]
    suite["cases"] = [
        {"name": f"case-{n}", "motion": str(m), "kind": kind, "prompt": f"Words {n}."}
        for n, (kind, m) in enumerate(named)
    ]
    (folder / "suite.json").write_text(json.dumps(suite))
    shown = re.findall(r"^\d\. case-(\d+): Words", write_report(folder).markdown.read_text(), re.MULTILINE)
    assert len(shown) == 8
    assert len({named[int(n)] for n in shown}) == 8
    assert shown[-1] == "18"


@pytest.mark.parametrize("missing", ["lines", "results.jsonl", "suite.json", "folder"])
def test_nothing_to_report(folder, missing):
    if missing == "lines":
        (folder / "results.jsonl").write_text('{"method": "clo')
    elif missing == "folder":
        shutil.rmtree(folder)
    else:
        (folder / missing).unlink()
    with pytest.raises(InputError, match=r"motionclone evaluate"):
        write_report(folder)
    assert not list(folder.glob("report.*"))
