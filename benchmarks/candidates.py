"""What else could carry more motion per word: rules that are not in the code, on the bundled UNet. It goes on.

    python benchmarks/candidates.py OUT [CANDIDATE@STRENGTH ...] [--cases 12]

Each candidate is one change of the preset's guidance, tried in its place on the validation split, from the same noise,
or the paper's method, whose weight is multiplied in place of a strength.
OUT/CANDIDATE@STRENGTH/results.jsonl has a line for each video, OUT/candidates.md the table, OUT/candidates.jsonl the
scores that it is made of; --draw makes the table from them. Motion and words are those of front.py.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from motionclone import cloning, sampling
from motionclone.extraction import extract_motion, seeded_noise
from motionclone.guidance import clean_and_noise
from motionclone.lab import making
from motionclone.lab.bundled import bundled_setup
from motionclone.lab.curves import motion_share, words_share
from motionclone.lab.methods import Method
from motionclone.lab.metrics.statistics import bootstrap
from motionclone.lab.results import read_results
from motionclone.lab.running import run_suite
from motionclone.lab.suites import Suite
from motionclone.motion import Motion, SparseMap, temporal_attention
from motionclone.objectives.cross_entropy import LEAST
from motionclone.settings import preset
from motionclone.steps import noise_level, prediction_of

MODEL = "mini"
SCORES = ("path_explained", "camera_explained", "flow_explained", "text", "texture", "background", "consistency")


@contextmanager
def replaced(module: Any, name: str, new: Any) -> Iterator[None]:
    plain = getattr(module, name)
    setattr(module, name, new)
    try:
        yield
    finally:
        setattr(module, name, plain)


def unit(values: Tensor) -> Tensor:
    return values / values.square().mean().sqrt().clamp(min=1e-20)


def gradient_changed(start: Callable[[], Callable[[Tensor], Tensor]]) -> AbstractContextManager[None]:
    """The gradient (1, c, f, h, w) passes through a function that `start` makes for each video."""
    change, plain = start(), sampling.strong_gradient

    def changed(backbone: Any, gradient: Tensor, *rest: Any) -> Tensor:
        return plain(backbone, change(gradient), *rest)

    return replaced(sampling, "strong_gradient", changed)


def momentum(share: float) -> Callable[[Tensor], Tensor]:
    last: list[Tensor] = []

    def change(gradient: Tensor) -> Tensor:
        now = unit(gradient) + (share * last[0] if last else 0)
        last[:] = [unit(now)]
        return now

    return change


def orthogonal() -> AbstractContextManager[None]:
    """To classifier-free guidance, at the same size (after APG, arXiv:2410.02416)."""
    plain = sampling.with_increment

    def changed(unconditional: Any, conditional: Any, increment: Tensor, *rest: Any) -> Any:
        if unconditional is None:
            return plain(unconditional, conditional, increment, *rest)
        words = (conditional[0] - unconditional[0]).float()
        along = (increment * words).sum() / words.square().sum()
        left = increment - along * words
        return plain(unconditional, conditional, left * (increment.norm() / left.norm()), *rest)

    return replaced(sampling, "with_increment", changed)


def reused(every: int) -> AbstractContextManager[None]:
    """One gradient for `every` guided steps; the others cost what unguided ones do."""
    plain, kept, count = sampling.energy_and_gradient, [], [0]

    def changed(backbone: Any, forward: Any, call: Any, *rest: Any, **options: Any) -> Any:
        count[0] += 1
        if (count[0] - 1) % every == 0:
            output, *kept[:] = plain(backbone, forward, call, *rest, **options)
            return output, *kept
        with torch.no_grad():
            return forward(**call), *kept

    return replaced(sampling, "energy_and_gradient", changed)


def clean_space(seed: int, t_alpha: int) -> AbstractContextManager[None]:
    """The energy of the clean estimate under the reference's own noise, after MPGD (arXiv:2311.16424)."""
    plain = sampling.energy_and_gradient

    def changed(backbone: Any, forward: Any, call: Any, motion: Motion, **options: Any) -> Any:
        with torch.no_grad():
            output = forward(**call)
        scheduler, latents = backbone.pipe.scheduler, call[backbone.latents_name]
        now = noise_level(scheduler, float(call["timestep"]))
        clean, _ = clean_and_noise(output[0].float(), latents.float(), now, prediction_of(scheduler))
        level = noise_level(scheduler, float(t_alpha))
        noise = seeded_noise(tuple(latents.shape), seed)
        again = {
            **call,
            backbone.latents_name: (level.alpha * clean + level.sigma * noise).to(latents.dtype),
            "timestep": torch.full_like(torch.as_tensor(call["timestep"]), t_alpha),
        }
        _, energies, gradient = plain(backbone, forward, again, motion, **options)
        return output, energies, gradient

    return replaced(sampling, "energy_and_gradient", changed)


def weighted(weights: Callable[[SparseMap], Tensor]) -> AbstractContextManager[None]:
    """Cross-entropy in which positions count by `weights`, (p, heads, f, 1)."""

    def energy(query: Tensor, key: Tensor, reference: SparseMap) -> Tensor:
        chosen = temporal_attention(query, key).gather(-1, reference.indices).clamp(min=LEAST)
        each = weights(reference)
        values = reference.values * each / each.mean()
        return (values * (reference.values.clamp(min=LEAST) / chosen).log()).mean()

    return replaced(sampling, "objective_named", lambda name: energy)


def moving(reference: SparseMap) -> Tensor:
    """How much of what is kept lies on other frames."""
    own = torch.arange(reference.indices.shape[2]).view(1, 1, -1, 1)
    return (reference.values * (reference.indices != own)).sum(-1, keepdim=True)


def sure(reference: SparseMap) -> Tensor:
    """How much of the row is kept."""
    return reference.values.sum(-1, keepdim=True)


def averaged(draws: int) -> AbstractContextManager[None]:
    """Attention averaged over noise draws before the strongest entries are kept."""

    def changed(pipe: Any, frames: Any, settings: Any, *, seed: int, **options: Any) -> Motion:
        length = len(frames)
        whole = settings.model_copy(update={"k": length})
        found = [extract_motion(pipe, frames, whole, seed=seed + 7919 * n, **options) for n in range(draws)]
        own = extract_motion(pipe, frames, settings, seed=seed, **options)
        maps = {}
        for site, kept in own.maps.items():
            dense = torch.zeros(*kept.values.shape[:3], length)
            for each in (motion.maps[site] for motion in found):
                dense = dense.scatter_add(-1, each.indices.long(), each.values.float() / draws)
            values, indices = dense.topk(settings.k, -1)
            maps[site] = SparseMap(values.to(kept.values.dtype), indices.to(kept.indices.dtype))
        return replace(own, maps=maps)

    return replaced(cloning, "extract_motion", changed)


@dataclass(frozen=True)
class Candidate:
    """One change of the preset."""

    title: str
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # of its settings
    rule: Callable[[Any, Any], AbstractContextManager[None]] = lambda pipe, settings: nullcontext()


def _gradient(title: str, start: Callable[[], Callable[[Tensor], Tensor]]) -> Candidate:
    return Candidate(title, rule=lambda pipe, settings: gradient_changed(start))


CANDIDATES = {
    "preset": Candidate("the preset"),
    "early": Candidate("guided in the noisiest 0.25", {"guidance": {"guided_fraction": 0.25}}),
    "late": Candidate("guided in the noisiest 0.55", {"guidance": {"guided_fraction": 0.55}}),
    "more": Candidate("18 of 24 steps guided", {"sampling": {"guided_steps": 18}}),
    "momentum": _gradient("momentum 0.5", lambda: momentum(0.5)),
    "orthogonal": Candidate("orthogonal to classifier-free guidance", rule=lambda pipe, settings: orthogonal()),
    "reused": Candidate("a gradient every second guided step", rule=lambda pipe, settings: reused(2)),
    "reused3": Candidate("a gradient every third guided step", rule=lambda pipe, settings: reused(3)),
    "moving": Candidate("positions count by how much they move", rule=lambda pipe, settings: weighted(moving)),
    "sure": Candidate("positions count by how sure they are", rule=lambda pipe, settings: weighted(sure)),
    "draws": Candidate("motion averaged over four noise draws", rule=lambda pipe, settings: averaged(4)),
    "clean": Candidate(
        "energy of the clean estimate, under the reference's noise",
        rule=lambda pipe, settings: clean_space(settings.seed, settings.extraction.t_alpha),
    ),
}
FEW = {"steps": 8, "guided_steps": 4}
for factor in (1, 1.67, 2, 3):
    CANDIDATES[f"few-f{factor}"] = Candidate(
        f"8 steps, factor {factor}", {"sampling": FEW, "guidance": {"guidance_scale_factor": factor}}
    )
CANDIDATES["few-g6"] = Candidate("8 steps, 6 guided", {"sampling": {**FEW, "guided_steps": 6}})
PAPER = preset(f"{MODEL}-paper").model_dump(include={"extraction", "guidance", "sampling"})
CANDIDATES["paper"] = Candidate("the paper's method in 24 steps", PAPER)
CANDIDATES["object"] = Candidate(
    "the paper's object schedule: 300 steps, 180 guided, as much weight in all",
    {
        **PAPER,
        "guidance": {
            **PAPER["guidance"],
            "warm_up": 10,
            "cool_down": 10,
            "weight": PAPER["guidance"]["weight"] * 12 / 171,  # sums of the ramps: of 12 steps, and of 180
        },
        "sampling": {**PAPER["sampling"], "steps": 300, "guided_steps": 180},
    },
)
DEFAULT = tuple(f"{name}@{strength}" for name in CANDIDATES for strength in (1, 2))


def method_of(point: str) -> Method:
    """Of CANDIDATE@STRENGTH, or of unguided and ceiling."""
    if point == "ceiling":
        return Method(point, point, "candidates", "", kind="ceiling")
    name, _, strength = point.partition("@")
    changes = {} if point == "unguided" else {key: dict(value) for key, value in CANDIDATES[name].changes.items()}
    guidance, amount = changes.get("guidance", {}), float(strength or 0)
    by_weight = {"weight": guidance["weight"] * amount} if guidance.get("strength", amount) is None else {}
    changes["guidance"] = {**guidance, **(by_weight or {"strength": amount})}
    return Method(point, point, "candidates", "", changes)


def measure(points: list[str], out: Path, cases: int, dtype: torch.dtype) -> None:
    setup, pipe = bundled_setup("candidates", (), MODEL, split="validation", cases=cases, dtype=dtype)
    plain = making._generated

    def by_rule(pipe: Any, method: Method, case: Any, reference: Tensor, settings: Any) -> Any:
        candidate = CANDIDATES.get(method.name.partition("@")[0], CANDIDATES["preset"])
        with candidate.rule(pipe, settings):
            return plain(pipe, method, case, reference, settings)

    with replaced(making, "_generated", by_rule):
        for point in ("unguided", "ceiling", *points):
            own = replace(setup, suite=Suite("candidates", (method_of(point),)))
            print(point, run_suite(own, out / point, workers=1, pipe=pipe), flush=True)


def rank(point: str) -> int:
    """Where a candidate stands in the list."""
    return list(CANDIDATES).index(point.partition("@")[0])


def gather(out: Path) -> None:
    """OUT/candidates.jsonl: a line for each video of this call and earlier ones."""
    there = {path.name for path in out.iterdir() if path.is_dir()}
    points = sorted((point for point in there if "@" in point), key=lambda point: (rank(point), point))
    with (out / "candidates.jsonl").open("w") as lines:
        for point in ("unguided", "ceiling", *points):
            for line in read_results(out / point)[0]:
                if line.outcome == "made":
                    scores = {name: line.scores.get(name) for name in SCORES}
                    lines.write(json.dumps({"method": point, "case": line.case, "scores": scores}) + "\n")


def table(out: Path) -> str:
    """As Markdown, with 95 % intervals over cases; differences are to the preset at the same strength, case by case."""
    found: dict[str, dict[str, Any]] = {}
    for line in map(json.loads, (out / "candidates.jsonl").read_text().splitlines()):
        found.setdefault(line["method"], {})[line["case"]] = line["scores"]
    ceiling, plain = found["ceiling"], found["unguided"]

    def values(point: str) -> dict[str, dict[str, float]]:
        of_all = {}
        for case, scores in found.get(point, {}).items():
            motion, words = motion_share(scores, ceiling[case]), words_share(scores, plain[case])
            of_all[case] = {"motion": motion, "words": words, **scores}
        return of_all

    titles = ("", "strength", "motion", "less the preset's", "words", "less the preset's", "texture", "flow explained")
    rows = [f"| {' | '.join(titles)} | consistency |", "|---" * (len(titles) + 1) + "|"]
    for point in found:
        name, _, strength = point.partition("@")
        own, base = values(point), values(f"preset@{strength}")
        cells = []
        for what in ("motion", "words"):
            cells.append(_told([each[what] for each in own.values()]))
            pairs = [own[case][what] - base[case][what] for case in own if case in base] if name != "preset" else []
            cells.append(_told(pairs, signed=True) if pairs else "")
        kept = [each["texture"] for each in own.values() if each["texture"] is not None]
        cells.append(f"{sum(kept):g} of {len(kept)}")
        for what in ("flow_explained", "consistency"):
            cells.append(_told([each[what] for each in own.values() if each[what] is not None]))
        title = CANDIDATES[name].title if name in CANDIDATES else name
        rows.append(f"| {title} | {strength} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _told(values: list[float], signed: bool = False) -> str:
    found = bootstrap(values)
    if not found.n:
        return ""
    sign = "+" if signed else ""
    return f"{found.value:{sign}.3f} [{found.low:.3f}, {found.high:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("points", nargs="*", default=DEFAULT, metavar="CANDIDATE@STRENGTH", help=", ".join(CANDIDATES))
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16"])
    parser.add_argument("--draw", action="store_true", help="only show what OUT/candidates.jsonl has")
    args = parser.parse_args()
    if unknown := [point for point in args.points if point.partition("@")[0] not in CANDIDATES]:
        parser.error(f"there is no candidate {unknown[0]}; there are {', '.join(CANDIDATES)}")
    if not args.draw:
        args.out.mkdir(parents=True, exist_ok=True)
        measure(list(args.points), args.out, args.cases, getattr(torch, args.dtype))
        gather(args.out)
    (args.out / "candidates.md").write_text(table(args.out), encoding="utf-8")
    print(table(args.out))


if __name__ == "__main__":
    main()
