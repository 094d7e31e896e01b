"""Everything that decides an output, frozen and serialisable; and the presets, which are data."""

import tomllib
from collections.abc import Mapping
from contextlib import nullcontext
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from motionclone.complaints import in_our_words
from motionclone.errors import InputError, choice, named, naming

Update = Literal["direction", "noise"]
"""How the gradient enters a step: see `output_increment`."""

Checkpointing = Literal["auto", "none", "least"]
"""What guided steps compute again in the backward pass: see `Recomputing`."""

LONGEST_TEXT = 20_000
"""Characters. Text encoders read up to a few thousand."""
MOST_STEPS = 10_000
MOST_SIDE, MOST_PIXELS = 8192, 2**28
"""Of one frame and of all together (3.2 GB as float32): more than the largest models make."""


def check_text(text: str) -> str:
    """The text. InputError if it is longer than any model reads, or holds bytes that are no UTF-8."""
    if len(text) > LONGEST_TEXT:
        raise InputError(f"a text has {len(text):,} characters and models read {LONGEST_TEXT:,} at most; shorten it")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"{text[:80]!r} holds bytes that are no UTF-8; write it anew, or rename the file") from error
    return text


def _check_texts(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(check_text, texts))


Text = Annotated[str, AfterValidator(check_text)]
Texts = Annotated[tuple[str, ...], AfterValidator(_check_texts)]


def _checkpointing(given: object) -> object:
    """Older records and presets say yes or no."""
    return ("auto" if given else "none") if isinstance(given, bool) else given


if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)


class _Told(ModelMetaclass):
    """Whoever makes settings of wrong values is told in a sentence, as for those of a preset or a record."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if args:
            raise InputError(f"{self.__name__} takes its values by name; write each as name=value.")
        try:
            return super().__call__(**kwargs)
        except ValidationError as error:
            raise InputError(f"{in_our_words(error, self, Settings, named)}.") from error


class _Frozen(BaseModel, metaclass=_Told):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Extraction(_Frozen):
    """How a motion is read from a clip (Sec. 3.3)."""

    t_alpha: int = Field(default=400, ge=0, le=999, description="Noise step at which the reference is read.")
    k: int = Field(
        default=1,
        ge=1,
        le=10_000,
        description="Strongest entries kept of every attention row; as many as its frames is plain control.",
    )
    blocks: Texts = Field(
        default=("up_blocks.1",),
        min_length=1,
        max_length=1000,
        description="Blocks whose attention is cloned, such as up_blocks.1.",
    )
    prompt: Text = Field(
        default="", description="What the model is told of the reference; the paper uses the null text."
    )


class Guidance(_Frozen):
    """How strongly, when and by which rule a motion guides (Sec. 3.4)."""

    strength: float | None = Field(
        default=None,
        ge=0,
        description="How much of the motion is asked for: 1 is recommended, on every model, at every size and number "
        "of steps; 0 switches guidance off. Takes the place of the weight",
    )
    weight: float = Field(
        default=2000.0,
        ge=0,
        description="Lambda, as in the paper; what it does depends on model, size and steps. 0 switches it all off.",
    )
    objective: str = Field(
        default="control", description="What the same motion means: control, as in the paper, or cross-entropy."
    )
    update: Update = Field(
        default="direction", description="`direction` as the authors' code, `noise` as Eq. 2 is printed."
    )
    match_direction: bool = Field(
        default=False, description="With `noise`: weigh every step so that it equals `direction` in a DDIM step."
    )
    guidance_scale_factor: float = Field(
        default=1.0, ge=0, le=100, description="Multiplies classifier-free guidance in guided steps: words hold."
    )
    inner_steps: int = Field(
        default=1,
        ge=1,
        le=100,
        description="Gradients of a guided step, each where those before it lead; for few steps, and by strength.",
    )
    guided_fraction: float = Field(
        default=0.3, gt=0, le=1, description="Noisiest share of the schedule that is guided."
    )
    warm_up: int = Field(default=10, ge=0, le=10_000, description="Guided steps over which the weight rises.")
    cool_down: int = Field(default=10, ge=0, le=10_000, description="Guided steps over which the weight falls.")
    checkpointing: Annotated[Checkpointing, BeforeValidator(_checkpointing)] = Field(
        default="auto",
        description="What the backward pass computes again: none of it, what does not fit the free memory (auto), or "
        "all that keeps memory least.",
    )

    @property
    def off(self) -> bool:
        """Whether nothing is guided."""
        return self.weight == 0 or self.strength == 0

    @property
    def gradients(self) -> int:
        """Of a guided step; by weight there is one."""
        return 1 if self.strength is None else self.inner_steps

    @property
    def rule(self) -> Update:
        """How the gradient enters a step; a strength, which says what a step does to the latents, leaves no choice."""
        return self.update if self.strength is None else "direction"


class Sampling(_Frozen):
    """What the pipeline is called with."""

    steps: int = Field(default=100, ge=1, le=MOST_STEPS, description="Denoising steps.")
    guided_steps: int = Field(
        default_factory=lambda given: max(1, given["steps"] // 2),
        ge=1,
        le=10_000,
        description="How many of them are guided.",
    )
    guidance_scale: float = Field(
        default=8.5, ge=0, description="Classifier-free guidance as in diffusers: the paper's s plus 1."
    )
    negative_prompt: Text = Field(default="", description="What the video should not show.")
    positive_prompt: Text = Field(default="", description="Appended to every prompt.")
    num_frames: int = Field(default=16, ge=2, le=10_000, description="Frames of clip and video.")
    height: int = Field(default=512, ge=8, le=MOST_SIDE, multiple_of=8, description="Pixels.")
    width: int = Field(default=512, ge=8, le=MOST_SIDE, multiple_of=8, description="Pixels.")
    shared_noise: bool = Field(
        default=True, description="Start from the noise that was added to the reference, as the authors do."
    )

    @model_validator(mode="after")
    def _fits(self) -> "Sampling":
        if self.guided_steps > self.steps:
            counts = f"{named('guided_steps')} ({self.guided_steps}) must not exceed {named('steps')} ({self.steps})"
            raise ValueError(counts)
        pixels = self.num_frames * self.height * self.width
        if pixels > MOST_PIXELS:
            size = " x ".join(named(each) for each in ("num_frames", "height", "width"))
            raise ValueError(f"{size} is {pixels:,} pixels; it must not exceed {MOST_PIXELS:,}")
        return self


class Conditioning(_Frozen):
    """How pictures steer a video that is given some (Sec. 4.5)."""

    scale: float = Field(default=1.0, ge=0, description="Strength of the pictures; 0 switches them off.")
    at_extraction: bool = Field(
        default=True,
        description="Show SparseCtrl the reference's own frames when its motion is read, as the authors do.",
    )


class Settings(_Frozen):
    """One way of cloning, complete but for the clip, the words, the model and pictures."""

    extraction: Extraction = Extraction()
    guidance: Guidance = Guidance()
    sampling: Sampling = Sampling()
    conditioning: Conditioning = Conditioning()
    seed: int = Field(default=0, ge=0, lt=2**63, description="Of all noise.")

    @property
    def guided_steps(self) -> int:
        """Of the sampling's steps; none are guided by a strength or weight of 0."""
        return 0 if self.guidance.off else self.sampling.guided_steps

    def in_steps(self, steps: int) -> "Settings":
        """The same in another number of steps, such as 4 for a preview, with all that `changed` does then.

        Raises:
            InputError: not 1 to 10,000 steps.
        """
        if not isinstance(steps, int):
            raise InputError(f"the number of steps is a whole number, not {steps!r}.")
        return self.changed({"sampling.steps": steps})

    def changed(self, given: Mapping[str, Any]) -> "Settings":
        """The same but for what a person gives, by section and name, such as {"guidance.weight": 500, "seed": 7}.

        In another number of steps as large a share is guided, and ramped. In fewer, as motion has fewer steps to answer
        in, what words count more in guided steps is as many times less, and by strength each takes as many gradients as
        there are times fewer steps, three at most (nothing undoes that in more steps). And a weight, the paper's way,
        takes the place of a strength. All that unless these are given, too.

        Raises:
            InputError: as `parse_settings`.
        """
        data = self.model_dump()
        for where, value in given.items():
            section, _, name = where.rpartition(".")
            (data[section] if section else data)[name] = value
        if "guidance.weight" in given and "guidance.strength" not in given:
            data["guidance"]["strength"] = None
        before, now = self.sampling.steps, data["sampling"]["steps"]
        if now != before and isinstance(now, int) and 1 <= now <= MOST_STEPS:
            for where in SHARES.keys() - given.keys():
                section, _, name = where.rpartition(".")
                data[section][name] = max(SHARES[where], round(data[section][name] * now / before))
            more = self.guidance.guidance_scale_factor - 1
            if now < before and more > 0 and FACTOR not in given:
                data["guidance"]["guidance_scale_factor"] = round(1 + more * now / before, 2)
            by_strength = data["guidance"]["strength"] is not None
            if now < before and by_strength and self.guidance.inner_steps == 1 and INNER not in given:
                data["guidance"]["inner_steps"] = min(before // now, MOST_INNER)
        return parse_settings(data, None)


FLAT_NAMES = {
    "num_frames": "frames",
    "prompt": "extraction_prompt",
    "scale": "condition_scale",
    "at_extraction": "condition_extraction",
}
"""What settings are called where they stand in no section, as options and in job files, if not by their own names."""

FACTOR, INNER = "guidance.guidance_scale_factor", "guidance.inner_steps"
MOST_INNER = 3
"""As many gradients a guided step takes, in fewer steps, unless a person asks for more."""
SHARES = {"sampling.guided_steps": 1, "guidance.warm_up": 0, "guidance.cool_down": 0}
"""Counts of steps that go with the number of all steps; and the least of each."""


def parse_settings(data: Any, source: str | None) -> Settings:
    """Settings from plain values: of a preset or a record, which is the `source`, or (None) of whoever calls.

    Their `model_fields_set` are empty: these hold what a person sets, who makes settings or changes copies of some.

    Raises:
        InputError: naming every unknown or invalid key and `source`.
    """
    try:
        with naming() if source is not None else nullcontext():
            return _set_by_nobody(Settings.model_validate(data))
    except ValidationError as error:
        told = in_our_words(error, Settings, Settings, named if source is None else lambda name: name)
        raise InputError(f"{told}." if source is None else f"{source} is not valid: {told}.") from error


SettingsKind = TypeVar("SettingsKind", bound=_Frozen)


def or_default(given: SettingsKind | None, kind: type[SettingsKind]) -> SettingsKind:
    """Settings of a kind that a caller gives, or the defaults. InputError for anything else."""
    if given is None:
        return kind()
    if not isinstance(given, kind):
        part = next((name for name, info in Settings.model_fields.items() if info.annotation is kind), "")
        remedy = f"give its .{part}" if part and isinstance(given, Settings) else "see preset()"
        raise InputError(f"settings must be {kind.__name__}, not {type(given).__name__}; {remedy}.")
    return given


def _set_by_nobody(settings: Settings) -> Settings:
    for part in (settings, settings.extraction, settings.guidance, settings.sampling, settings.conditioning):
        part.model_fields_set.clear()
    return settings


def preset_names() -> list[str]:
    """Names of the presets that come with the package."""
    folder = resources.files("motionclone") / "presets"
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".toml"))


def preset_of(model: str) -> str:
    """The name of a named model's preset."""
    return model if model in preset_names() else "camera"


def preset(name: str) -> Settings:
    """The settings of a preset.

    Raises:
        InputError: if there is none of that name.
    """
    if name not in preset_names():
        raise InputError(f"no preset {name!r}; {choice(str(name), preset_names())}")
    text = (resources.files("motionclone") / "presets" / f"{name}.toml").read_text(encoding="utf-8")
    return parse_settings(tomllib.loads(text), f"preset {name}")
