"""Videos are scored against the clips of a list or of their records, in bounded memory, and nothing is written over."""

import hashlib
import json

import pytest
import torch

from motionclone.cli import main
from motionclone.errors import InputError
from motionclone.lab import score as scoring
from motionclone.lab.metrics import load_embedder
from motionclone.lab.score import measuring_size, score_videos
from motionclone.lab.score_list import listed_videos
from motionclone.lab.world import held_out_pairs
from motionclone.media.writing import write_video


@pytest.fixture(scope="module")
def embedder():
    return load_embedder()


def two_videos(folder, lengths=(8, 8)):
    lines = []
    for pair, length in zip(held_out_pairs("validation", 8)[6:], lengths, strict=True):
        write_video(folder / f"{pair.name}.mp4", pair.target.render()[:length], 8.0)
        write_video(folder / f"{pair.name}-ref.mp4", pair.reference.render()[:length], 8.0)
        lines.append({"video": f"{pair.name}.mp4", "reference": f"{pair.name}-ref.mp4", "prompt": pair.target.caption})
    (folder / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder / "list.jsonl"


def test_a_folder_of_videos_is_scored(tmp_path, embedder):
    scored = score_videos(listed_videos(two_videos(tmp_path)), embedder)
    assert len(scored) == 2
    for each in scored:
        assert each.ceiling["flow"] > each.scores["flow"] > each.floor["flow"] + 0.2
        assert each.scores["text"] > each.floor["text"] + 0.2


@pytest.mark.parametrize("problem", ["lengths", "missing", "words", "empty", "record"])
def test_folders_that_cannot_be_scored(tmp_path, embedder, problem):
    place = two_videos(tmp_path, (8, 9) if problem == "lengths" else (8, 8))
    said = {
        "lengths": "has 8 frames and .* has 9",
        "missing": "turn-back-0.mp4, which is not there",
        "words": "not a list of video, reference and prompt",
        "empty": "no videos with a record",
        "record": "not a record of a cloned video",
    }[problem]
    if problem == "missing":
        (tmp_path / "turn-back-0.mp4").unlink()
    if problem == "words":
        place.write_text('{"video": "a.mp4"}')
    if problem == "record":
        (tmp_path / "turn-back-0.json").write_text("{}")
    if problem in ("empty", "record"):
        place = tmp_path
    with pytest.raises(InputError, match=said):
        score_videos(listed_videos(place), embedder)


@pytest.mark.parametrize(
    "line",
    [
        b"null",
        b"[]",
        b"{}",
        b"3",
        b'{"video": 1, "reference": "r", "prompt": "p"}',
        b'{"video": "v", "reference": "r", "prompt": "p", "start": NaN}',
        b'{"video": "v", "reference": "r", "prompt": "p", "start": "0"}',
        b'{"video": "v", "reference": "r", "prompt": "p", "end": -1}',
        b'{"video": "v", "reference": "r", "prompt": "p", "fps": 0}',
        b'{"video": "v", "reference": "r", "prompt": "p", "fit": "pad"}',
        b'{"video": "v", "reference": "r", "prompt": "p", "more": 1}',
        b'{"video": "v\\u0000", "reference": "r", "prompt": "p"}',
        b'{"video": "v\\ud800", "reference": "r", "prompt": "p"}',
        b'{"video": "\xff", "reference": "r", "prompt": "p"}',
        b"[" * 100_000,
        b"9" * 5000,
    ],
)
def test_a_damaged_line_of_a_list_is_named(tmp_path, line):
    place = two_videos(tmp_path)
    place.write_bytes(place.read_bytes() + b"\n" + line + b"\n")
    with pytest.raises(InputError, match=r"list.jsonl is not a list .* line 3 has ") as refused:
        listed_videos(place)
    assert len(str(refused.value)) < 1000


def test_a_list_that_leads_nowhere(tmp_path):
    place = tmp_path / "list.jsonl"
    place.write_text(json.dumps({"video": "v" * 300, "reference": "r", "prompt": "p"}))
    with pytest.raises(InputError, match="which is not there"):
        listed_videos(place)
    with pytest.raises(InputError, match="no file"):
        listed_videos(tmp_path / "other.jsonl")
    place.write_text("\n")
    with pytest.raises(InputError, match="is empty; write one JSON object of video, reference and prompt a line"):
        listed_videos(place)


def test_a_list_may_begin_with_a_byte_order_mark(tmp_path):
    place = two_videos(tmp_path)
    place.write_bytes(b"\xef\xbb\xbf" + place.read_bytes())
    assert len(listed_videos(place)) == 2


def test_a_records_reference_is_looked_for_where_the_person_says(tmp_path):
    folder, elsewhere = tmp_path / "videos", tmp_path / "references"
    elsewhere.mkdir()
    two_videos(folder)
    clip = (folder / "zoom-in-0-ref.mp4").rename(elsewhere / "tiger.mp4")
    digest = hashlib.sha256(clip.read_bytes()).hexdigest()
    source = {"name": "tiger.mp4", "path": str(clip), "sha256": digest, "start": 0, "end": None, "fit": "crop"}
    record = folder / "zoom-in-0.json"
    record.write_text(json.dumps({"motion": {"source": source}, "prompt": "a pig"}))
    with pytest.raises(InputError, match=r"'tiger.mp4', .* is not in its folder, .*references"):
        listed_videos(folder)  # the record's path is not followed
    (listed,) = listed_videos(folder, elsewhere)
    assert (listed.video, listed.reference, listed.prompt) == (folder / "zoom-in-0.mp4", clip, "a pig")
    (folder / "zoom-in-0.gif").write_bytes(b"")
    with pytest.raises(InputError, match="have one record"):
        listed_videos(folder, elsewhere)
    (folder / "zoom-in-0.gif").unlink()
    clip.write_bytes(clip.read_bytes() + b"\0")
    with pytest.raises(InputError, match="that very file"):
        listed_videos(folder, elsewhere)
    record.write_text(json.dumps({"motion": {"source": source | {"name": "../tiger.mp4"}}, "prompt": "a pig"}))
    with pytest.raises(InputError, match="without its folder"):
        listed_videos(folder, elsewhere)


def test_a_demos_reference_lies_beside_its_videos(tmp_path):
    two_videos(tmp_path)
    (tmp_path / "zoom-in-0-ref.mp4").rename(tmp_path / "reference.mp4")
    reference = {
        "name": "reference.mp4",
        "sha256": hashlib.sha256((tmp_path / "reference.mp4").read_bytes()).hexdigest(),
    }
    record = {"motion": {"source": {"name": "world: zoom-in", "caption": "A star."}}, "prompt": "A pig."}
    (tmp_path / "zoom-in-0.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="names no file that its motion was read from"):
        listed_videos(tmp_path)
    (tmp_path / "zoom-in-0.json").write_text(json.dumps(record | {"output": {"reference": reference}}))
    (listed,) = listed_videos(tmp_path)
    assert listed.reference == tmp_path / "reference.mp4"
    assert listed_videos(tmp_path / "zoom-in-0.mp4") == [listed]


def test_one_video_is_scored_without_a_judge_being_named(tmp_path, run):
    place = two_videos(tmp_path)
    place.write_text(place.read_text().splitlines()[0])
    code, said = run("score", place)
    assert code == 0
    assert "1 video" in said
    assert "nan" not in said
    assert "--judge" in said  # the default one knows its own world only


def test_what_is_refused_has_no_bar(tmp_path, run):
    code, said = run("score", two_videos(tmp_path, (8, 9)), "--judge", "mini")
    assert code == 2
    assert said.startswith("motionclone: ")


def test_few_videos_have_a_column_each(tmp_path, run):
    code, said = run("score", two_videos(tmp_path), "--judge", "mini")
    assert code == 0
    assert "mean" not in said
    assert "note" not in said


@pytest.mark.parametrize("option", ["--judge", "--clip"])
def test_a_judge_that_is_nowhere_is_named(tmp_path, run, option):
    for command in (("score", two_videos(tmp_path)), ("evaluate", "quick", "--out-dir", tmp_path / "new")):
        code, said = run(*command, option, "/nothere")
        assert code == 2
        assert said.splitlines()[-1].startswith("motionclone: there is no CLIP model /nothere; ")


def test_videos_of_several_sizes_are_scored(tmp_path, embedder):
    place = two_videos(tmp_path)
    pair = held_out_pairs("test", 8)[7]
    write_video(tmp_path / f"{pair.name}.mp4", pair.target.render(96)[:8], 8.0, overwrite=True)
    scored = score_videos(listed_videos(place), embedder)
    assert all(each.ceiling["flow"] > each.scores["flow"] for each in scored)


@pytest.mark.parametrize("output", ["list.jsonl", "./sub/../list.jsonl", "soft", "hard", "zoom-in-0-ref.mp4"])
def test_scores_are_never_written_over_what_they_are_made_from(tmp_path, monkeypatch, capsys, output):
    place = two_videos(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "soft").symlink_to(place)
    (tmp_path / "hard").hardlink_to(place)
    before = {path: path.read_bytes() for path in tmp_path.glob("*.*")}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "sys.argv", ["motionclone", "score", "list.jsonl", "--judge", "mini", "-o", output, "--overwrite"]
    )
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "choose another output" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.glob("*.*")} == before


def test_scores_are_written_as_json_lines(tmp_path, run):
    code, said = run("score", two_videos(tmp_path), "-o", tmp_path / "scores.txt")
    assert (code, "rename it to" in said) == (2, True), said


def test_the_written_scores_name_no_folder(tmp_path, monkeypatch, capsys):
    place = two_videos(tmp_path)
    monkeypatch.setattr(
        "sys.argv", ["motionclone", "score", str(place), "--clip", "mini", "-o", str(tmp_path / "s.jsonl")]
    )
    with pytest.raises(SystemExit, match="0"):
        main()
    text = (tmp_path / "s.jsonl").read_text()
    assert [json.loads(line)["video"] for line in text.splitlines()] == ["turn-back-0.mp4", "zoom-in-0.mp4"]
    assert str(tmp_path) not in text
    assert "motion_fidelity" in capsys.readouterr().out


def test_large_videos_are_measured_small_and_small_ones_as_they_are(tmp_path, embedder, monkeypatch):
    assert measuring_size(16, 512, 512) == (512, 512)
    assert measuring_size(49, 480, 720) == (480, 720)
    height, width = measuring_size(900, 1080, 1920)
    assert 900 * height * width <= scoring.MEASURED_PIXELS
    assert width / height == pytest.approx(1920 / 1080, rel=0.02)
    for size in ((2, 10, 100), (2, 1, 80_000_000), (2**18, 1080, 1920)):
        with pytest.raises(InputError, match="cannot be seen below 16x16"):
            measuring_size(*size)
    place = two_videos(tmp_path)
    sizes = []
    read = scoring.read_clip
    monkeypatch.setattr(scoring, "read_clip", lambda *args, **options: sizes.append(args[1:]) or read(*args, **options))
    monkeypatch.setattr(scoring, "MEASURED_PIXELS", 8 * 48 * 48)
    (small, *_) = score_videos(listed_videos(place), embedder)
    assert set(sizes) == {(8, 48, 48)}
    assert small.scores["flow"] > small.floor["flow"] + 0.2


def test_frames_are_embedded_alike_in_any_number(embedder):
    frames = torch.cat([pair.target.render() for pair in held_out_pairs("test", 3)])
    one_by_one = torch.cat([embedder.images(frame[None]) for frame in frames])
    torch.testing.assert_close(embedder.images(frames), one_by_one, rtol=0, atol=1e-5)
