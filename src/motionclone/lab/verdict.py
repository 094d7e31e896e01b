"""A run's verdict: what its numbers say, in words."""

from motionclone.lab.metric import Metric
from motionclone.lab.metric_list import METRICS
from motionclone.lab.tables import FEWEST_PAIRS, Run, Source, paired, way_of

_MOTION = ("path_explained", "camera_explained", "flow_explained")
_OLD_MOTION = ("path", "camera", "flow")  # of results that know no speed
_PRICE = ("text", "consistency")


def verdict(run: Run, method: str, baseline: str) -> tuple[str, ...]:
    """Whether motion is cloned, and at what price: `method` against `baseline`, which is not guided, on the same cases.

    Nothing if either has no videos.
    """
    every = (*_MOTION, *_OLD_MOTION, *_PRICE)
    compared = {name: paired(run, METRICS[name], method, baseline) for name in every}
    known = {name: found for name, found in compared.items() if found.n}
    motion = next((names for names in (_MOTION, _OLD_MOTION) if any(name in known for name in names)), ())
    if not motion:
        return ()
    sure = {name: way_of(found) for name, found in known.items() if found.n >= FEWEST_PAIRS}
    ways = [sure[name] for name in motion if name in sure]
    if not ways:
        most = max(found.n for found in known.values())
        pairs = "1 pair" if most == 1 else f"{most} pairs"
        first = f"Too few videos to say whether motion is cloned: {pairs}, and {FEWEST_PAIRS} are needed."
    elif all(way == "higher" for way in ways):
        first = "Motion is cloned: by every measure the videos move more like their references than unguided ones do."
    elif "higher" in ways:
        first = "Motion is cloned in part: by some measures, not all, the videos move more like their references."
    else:
        first = "Motion is not seen to be cloned: the videos move no more like their references than unguided ones do."
    told = ", ".join(_told(run, METRICS[name], method, baseline) for name in motion if name in known)
    lost = [METRICS[name] for name in _PRICE if sure.get(name) == "lower"]
    price = ""
    if lost:
        price = f" It costs {' and '.join(_told(run, metric, method, baseline) for metric in lost)}."
    elif any(name in sure for name in _PRICE):
        price = " No price is seen in words or consistency."
    return (first, f"Cloned against unguided: {told}.{price}")


def _told(run: Run, metric: Metric, method: str, baseline: str) -> str:
    own, other = (metric.text(Source("", each).interval(run, metric).value) for each in (method, baseline))
    return f"{metric.title} {own} against {other}"
