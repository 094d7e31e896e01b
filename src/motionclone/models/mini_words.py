"""What the bundled models know: the words of the small world that they were trained on, and nothing else."""

import re
from collections.abc import Iterable

from motionclone.errors import named

MINI_MODELS = ("mini", "mini-dit")
_COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "white")
_SHAPES = ("circle", "square", "triangle", "star", "ring", "cross")
_GROUNDS = ("stripes", "checks", "dots", "waves", "clouds", "rocks")
KNOWN = frozenset({*_COLOURS, *_SHAPES, *_GROUNDS, "gray", "plain", "scenery", "a", "on"})
"""Every word of every caption that they have seen."""
_SMALL = frozenset(
    ("an", "and", "at", "by", "for", "from", "in", "is", "its", "of", "over", "the", "to", "under", "with")
)
"""Words that say little by themselves."""
_SHOWN = 6


def unknown_words(texts: Iterable[str]) -> tuple[str, ...]:
    """The words of texts that the bundled models have never seen, each once, in order; punctuation is none."""
    words = (word for text in texts for word in re.findall(r"\w+|[^\x00-\x7f\s]+", text.lower()))
    return tuple(word for word in dict.fromkeys(words) if word not in KNOWN)


def advice(model: str, texts: Iterable[str]) -> str | None:
    """One sentence on what a bundled model does not know of some texts, and what to do; None if it knows all."""
    unknown = unknown_words(texts)
    if not unknown:
        return None
    told = [word for word in unknown if word not in _SMALL] or unknown
    more = f" and {len(told) - _SHOWN} more" * (len(told) > _SHOWN)
    return (
        f"the bundled model {model} has never seen {', '.join(map(repr, told[:_SHOWN]))}{more} and shows something "
        f"else: it knows {', '.join(_COLOURS)}; {', '.join(_SHAPES)}; on {', '.join(_GROUNDS)}, gray or plain. Other "
        f"words are for a real model: {named('model', 'animatediff')} on a GPU (see `motionclone models`)."
    )
