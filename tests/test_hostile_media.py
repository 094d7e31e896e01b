"""Damaged files of every format end in frames or in one sentence. (The long campaign: benchmarks/hostile_media.py.)"""

import contextlib

import pytest
from hostile import ANIMATIONS, MUTATIONS, PICTURES, mutated, seeds

from motionclone.errors import InputError
from motionclone.media.pictures import read_picture, read_sketch
from motionclone.media.reading import clip_size, read_clip


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return list(seeds(tmp_path_factory.mktemp("sound")))


def test_sound_files_of_every_format_are_read(sound):
    stills = dict(PICTURES)
    for path in sound:
        if path.name in stills:
            assert read_picture(path, 48, 64).pixels.shape == (3, 48, 64)
        else:
            clip = read_clip(path, 12, 48, 64)
            assert clip.frames.shape == (12, 3, 48, 64)
            assert not any("damaged" in notice or "cut short" in notice for notice in clip.notices)


@pytest.mark.parametrize("number", range(len(MUTATIONS)))
def test_damaged_files_end_in_frames_or_in_a_sentence(sound, tmp_path, number):
    stills = {*dict(PICTURES), *ANIMATIONS}
    for place, seed in enumerate(sound):
        _, data = mutated(seed.read_bytes(), number + len(MUTATIONS) * place)
        path = tmp_path / seed.name
        path.write_bytes(data)
        readers = [lambda path: read_clip(path, 4, 16, 16), clip_size]
        if seed.name in stills:
            readers = [lambda path: read_clip(path, 4, 16, 16), lambda path: read_picture(path, 16, 16)]
            readers += [lambda path: read_sketch(path, 16, 16)]
        for read in readers:
            with contextlib.suppress(InputError):  # anything else fails
                read(path)
