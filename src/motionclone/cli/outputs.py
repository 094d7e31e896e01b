"""What outputs are called that nobody named: in the current folder, after what they are made of."""

import re
from pathlib import Path

_LONGEST = 80  # bytes of each part: names may have 255


def named_after(source: Path, *words: str, suffix: str) -> Path:
    """`tiger.mp4` and "a red star" make `tiger-a-red-star.mp4`; words without a letter make it `tiger-video.mp4`."""
    parts = [source.stem or source.resolve().name, *(re.sub(r"\W+", "-", each.casefold()) for each in words)]
    short = [part.encode()[:_LONGEST].decode(errors="ignore").strip("-") or "video" for part in parts]
    return Path("-".join(short) + suffix)
