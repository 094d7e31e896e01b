"""A case of parity: what it asks for, its golden numbers, and the same numbers by the transcription and by us.

Every step starts from the golden latents, so that it is judged by itself and not by what earlier ones made of their
rounding.
"""

import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler
from replay import Replay, Shown
from safetensors.torch import load_file
from tiny import sparse_pipe, tiny_pipe
from torch import Tensor

from motionclone.backbones.families import backbone_of
from motionclone.extraction import motion_of_latents
from motionclone.media.conditions import Condition
from motionclone.motion import Motion, SparseMap
from motionclone.sampling import Trace, energy_and_gradient, motion_guidance
from motionclone.schedule import uneven_schedule
from motionclone.settings import Extraction, Guidance

Numbers = dict[str, Tensor]

# What the authors' configurations hold, where a case that was cut short does not say.
CONFIG = {
    "cfg_scale": 7.5,
    "motion_guidance_weight": 2000,
    "motion_guidance_blocks": ["up_blocks.1"],
    "add_noise_step": 400,
    "controlnet_scale": 1.0,
}
SCHEDULER = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012}

# Ours may be this many times as far from the float64 numbers as float32 numbers of others are. With other orders of
# summation, two float32 runs of the same formulas were up to three times as far from them as each other.
MULTIPLE = 4


class Case:
    """The facts and numbers of a run, and a pipeline to make them again.

    Numbers are compared by quantity: `null_text`; `values` of the representation; `energies` of all steps and sites;
    `gradient0`, ... of lambda * ramp * energy; `latents0`, ... after every step.
    """

    def __init__(self, facts: dict[str, Any], numbers: Numbers, folder: Path) -> None:
        self.facts = {"scheduler": SCHEDULER, **facts, "config": CONFIG | facts["config"]}
        self.config, self.numbers, self.steps = self.facts["config"], numbers, len(facts["timesteps"])
        self.guided = [step for step in facts["steps"] if step["guided"]]
        # The golden networks have one layer a block or two, and up blocks one motion module more than layers.
        second = any("down_blocks" in name and ".motion_modules.1." in name for name in numbers)
        third = any(".motion_modules.2." in name for name in numbers)
        size = {"channels": (32, 64, 64, 64), "layers": 2} if second or third else {}
        self.seen = self.pictured = self.shown = None  # what SparseCtrl is shown: by us twice, by the transcription
        self.picture_latents = torch.zeros_like(numbers["video_latents"])
        if facts["controlnet_config"] is None:
            self.pipe = tiny_pipe(folder, **size)
        elif facts["controlnet_config"]["controlnet_additional_kwargs"]["use_simplified_condition_embedding"]:
            self.pipe = sparse_pipe(folder, "image", **size)
            self._show_pictures()
        else:
            self.pipe = sparse_pipe(folder, "sketch", **size)
            self._show_sketches()
        self.pipe.scheduler = DDIMScheduler.from_config(self.pipe.scheduler.config, **self.facts["scheduler"])
        blocks = tuple(f"{block}." for block in self.config["motion_guidance_blocks"])
        modules = [name for name, _ in self.pipe.unet.named_modules() if name.startswith(blocks)]
        self.sites = [name for name in modules if "motion_modules" in name and name.endswith(("attn1", "attn2"))]
        self.k = next((numbers[name].shape[-1] for name in numbers if name.endswith(".indices")), 1)

    @classmethod
    def load(cls, path: Path, folder: Path) -> "Case":
        return cls(json.loads(path.read_text()), load_file(path.with_suffix(".safetensors")), folder)

    def _show_pictures(self) -> None:
        """As latents, which our side is given in place of what the VAE makes of pixels."""
        frames, latents = list(self.config["image_index"]), self.numbers["controlnet_images"]
        self.shown = Shown(frames, self.numbers["video_latents"][:, :, frames], latents)
        blank = torch.zeros(len(frames), 3, self.config["height"], self.config["width"])
        self.seen = self.pictured = Condition(blank, tuple(frames))
        self.picture_latents[:, :, frames] = latents
        self.pipe.prepare_image = lambda *_: latents

    def _show_sketches(self) -> None:
        """As pixels; of the reference, photographs."""
        frames, sketches = list(self.config["image_index"]), self.numbers["controlnet_images"]
        photographs = self.numbers["video_data"][frames]
        self.shown = Shown(frames, (photographs.movedim(0, 1)[None] + 1) / 2, sketches)
        self.seen = Condition(photographs, tuple(frames))
        self.pictured = Condition(sketches[0].movedim(0, 1) * 2 - 1, tuple(frames))

    def start(self, step: int) -> Tensor:
        """The golden latents before a step."""
        return self.numbers[f"step{step - 1}.latents_out"] if step else self.numbers["motion_noise"]

    def representation(self) -> dict[str, SparseMap]:
        """The golden values and indices, by site."""
        parts = {site: [self.numbers[f"rep.{site}.{part}"] for part in ("values", "indices")] for site in self.sites}
        return {site: SparseMap(*pair) for site, pair in parts.items()}

    @cached_property
    def golden(self) -> Numbers:
        energies = [[step["loss_per_module"][site] for site in self.sites] for step in self.guided]
        return {
            "null_text": self.numbers["null_text_embeds"],
            "values": flat(kept.values for kept in self.representation().values()),
            "energies": torch.tensor(energies, dtype=torch.float64),
            **{f"gradient{i}": self.numbers[f"step{i}.gradient"] for i in range(len(self.guided))},
            **{f"latents{i}": self.numbers[f"step{i}.latents_out"] for i in range(self.steps)},
        }

    def replay(self, dtype: torch.dtype) -> Replay:
        return Replay(self.pipe, self.facts, self.numbers, self.sites, dtype, self.shown)

    def _replayed(self, replay: Replay) -> Numbers:
        representation = self.representation()
        steps = [replay.step(i, self.start(i), representation) for i in range(self.steps)]
        guided = steps[: len(self.guided)]
        return {
            "null_text": replay.null_text(),
            "values": flat(replay.reference[site].topk(self.k).values for site in self.sites),
            "energies": torch.stack([flat(step.energies.values()) for step in guided]),
            **{f"gradient{i}": step.gradient for i, step in enumerate(guided)},
            **{f"latents{i}": step.latents for i, step in enumerate(steps)},
        }

    @cached_property
    def exact(self) -> Replay:
        return self.replay(torch.float64)

    @cached_property
    def truth(self) -> Numbers:
        """The transcription's numbers, in float64."""
        return self._replayed(self.exact)

    @cached_property
    def replayed(self) -> Numbers:
        """The transcription's numbers, in float32 on this machine."""
        return self._replayed(self.replay(torch.float32))

    def off(self, numbers: Numbers) -> dict[str, float]:
        """The largest difference from the truth, by quantity."""
        return {name: float((number - self.truth[name]).abs().max()) for name, number in numbers.items()}

    @cached_property
    def bounds(self) -> dict[str, float]:
        """What rounding explains."""
        golden, replayed = self.off(self.golden), self.off(self.replayed)
        return {name: MULTIPLE * max(golden[name], replayed[name]) for name in golden}

    @property
    def bound_of_sums(self) -> float:
        """Likewise of a step's energy, which is a sum over sites."""
        return len(self.sites) * self.bounds["energies"]

    def check(self, numbers: Numbers) -> None:
        """AssertionError if numbers are further from the truth than rounding explains."""
        for name, off in self.off(numbers).items():
            assert off <= self.bounds[name], f"{name} is {off:.1e} off, and rounding explains {self.bounds[name]:.1e}"

    def check_maps(self, maps: dict[str, SparseMap]) -> None:
        """The same for a representation, whose indices may differ only where the best values are as near as that."""
        assert maps.keys() == set(self.sites)
        self.check({"values": flat(maps[site].values for site in self.sites)})
        # What the exact map has at these indices, against the best it has.
        self.check({"values": flat(self.exact.reference[s].gather(-1, maps[s].indices.long()) for s in self.sites)})

    def read(self) -> Motion:
        """The motion, as this project reads it."""
        return motion_of_latents(
            self.pipe,
            self.numbers["video_latents"],
            self.numbers["motion_noise"],
            Extraction(
                t_alpha=self.config["add_noise_step"], k=self.k, blocks=tuple(self.config["motion_guidance_blocks"])
            ),
            shown=self.seen,
            condition_scale=self.config["controlnet_scale"],
        )

    @cached_property
    def motion(self) -> Motion:
        """The golden motion."""
        return Motion(self.representation(), self.read().grid, {})

    def gradients(self, *, checkpointing: bool = True) -> Numbers:
        """As this project computes them."""
        backbone, scale = backbone_of(self.pipe), self.config["controlnet_scale"]
        found = {}
        for i, step in enumerate(self.guided):
            latents = self.start(i)
            call = {
                "sample": latents,
                "timestep": torch.tensor(self.facts["timesteps"][i]),
                "encoder_hidden_states": self.numbers["cond_embeds"].repeat_interleave(latents.shape[2], 0),
            }
            if self.shown is not None:
                call = backbone.conditioned(call, self.pictured, self.picture_latents, scale)
            forward = self.pipe.unet.forward
            again = backbone.heavy_blocks() if checkpointing else ()
            _, _, gradient = energy_and_gradient(backbone, forward, call, self.motion, recompute=again)
            found[f"gradient{i}"] = self.config["motion_guidance_weight"] * step["ramp"] * gradient
        return found

    def run(self) -> tuple[Numbers, list[int], Trace]:
        """Energies and latents of this project's run; its timesteps; its guided steps."""
        config, found, timesteps = self.config, {}, []

        def to_the_golden_latents(_pipe: Any, step: int, timestep: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
            found[f"latents{step}"] = state["latents"]
            timesteps.append(int(timestep))
            return {"latents": self.start(step + 1)}

        guidance = Guidance(
            weight=config["motion_guidance_weight"],
            guided_fraction=config["guidance_scale"],
            warm_up=config["warm_up_steps"],
            cool_down=config["cool_up_steps"],
        )
        pictures = {}
        if self.pictured is not None:
            pictures = backbone_of(self.pipe).pipeline_condition(self.pictured, config["controlnet_scale"])
        with (
            uneven_schedule(self.pipe, config["guidance_steps"], config["guidance_scale"]),
            motion_guidance(self.pipe, self.motion, guidance) as trace,
        ):
            self.pipe(
                prompt_embeds=self.numbers["cond_embeds"],
                negative_prompt_embeds=self.numbers["uncond_embeds"],
                latents=self.numbers["motion_noise"],
                num_frames=self.numbers["motion_noise"].shape[2],
                height=config["height"],
                width=config["width"],
                num_inference_steps=config["inference_steps"],
                guidance_scale=config["cfg_scale"] + 1,  # diffusers' convention
                output_type="latent",
                callback_on_step_end=to_the_golden_latents,
                **pictures,
            )
        energies = [[step.energy_by_site[site] for site in self.sites] for step in trace.steps]
        found["energies"] = torch.tensor(energies, dtype=torch.float64)
        return found, timesteps, trace


def flat(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def made_case(folder: Path, frames: int, config: dict[str, Any], control: dict[str, Any] | None = None) -> Case:
    """A case in the authors' format whose numbers are the transcription's in float32, of random latents and words."""
    generator = torch.Generator().manual_seed(1)
    steps, guided, boundary = config["inference_steps"], config["guidance_steps"], 1000 * (1 - config["guidance_scale"])
    timesteps = [*np.linspace(0, int(boundary) - 1, steps - guided), *np.linspace(int(boundary), 999, guided)]
    facts = {
        "config": config,
        "controlnet_config": control and {"controlnet_additional_kwargs": control},
        "timesteps": [int(timestep) for timestep in np.round(timesteps)[::-1]],
        "steps": [],
    }
    for i in range(guided):
        rising, falling = (i + 1) / config["warm_up_steps"], (guided - i) / config["cool_up_steps"]
        facts["steps"].append({"guided": True, "ramp": min(1.0, rising) * min(1.0, falling)})
    shapes = dict.fromkeys(
        ("video_latents", "motion_noise"), (1, 4, frames, config["height"] // 8, config["width"] // 8)
    )
    shapes |= dict.fromkeys(("uncond_embeds", "cond_embeds"), (1, 77, 32))
    numbers = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    if control is not None:
        size = (config["height"], config["width"])
        numbers["video_data"] = torch.rand(frames, 3, *size, generator=generator) * 2 - 1
        numbers["controlnet_images"] = torch.rand(1, 3, len(config["image_index"]), *size, generator=generator)
    case = Case(facts, numbers, folder)
    replay = case.replay(torch.float32)
    numbers["null_text_embeds"] = replay.null_text()
    for site, attention in replay.reference.items():
        numbers[f"rep.{site}.values"], numbers[f"rep.{site}.indices"] = attention.topk(1)
    for i in range(steps):
        step = replay.step(i, case.start(i), case.representation())
        numbers |= {f"step{i}.gradient": step.gradient, f"step{i}.latents_out": step.latents}
        if step.energies:
            energies = {site: float(energy) for site, energy in step.energies.items()}
            facts["steps"][i] |= {"loss_per_module": energies, "loss_raw": sum(energies.values())}
    return case
