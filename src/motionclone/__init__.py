"""Training-free motion transfer for video diffusion, after MotionClone (arXiv:2406.05338).

    pipe = load_pipeline("mini")
    clip = read_clip("tiger.mp4", height=64, width=64)
    motion = extract_motion(pipe, clip.frames)
    with motion_guidance(pipe, motion, preset("mini")):
        frames = pipe("a red star on blue waves", num_frames=16, num_inference_steps=24, guidance_scale=3).frames[0]

Axis order, everywhere: frames are `f c h w` with RGB in [-1, 1]; latents are `b c f h w`; temporal attention maps are
`p heads f f` with p = y * w + x. Importing this package loads nothing; names load their modules when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from motionclone.backbones.per_frame_norm import per_frame_norm
    from motionclone.cloning import Generated, clone, generate
    from motionclone.errors import GuidanceWarning, InputError
    from motionclone.extraction import extract_motion, shared_noise
    from motionclone.media.conditions import Condition
    from motionclone.media.reading import Clip, read_clip
    from motionclone.media.writing import write_video
    from motionclone.models import ModelDescription, load_pipeline
    from motionclone.motion import Motion, heat_map, load_motion
    from motionclone.sampling import motion_guidance
    from motionclone.schedule import UnevenDDIMScheduler
    from motionclone.settings import Extraction, Guidance, Sampling, Settings, preset

__version__ = "0.1.0"

__all__ = [
    "Clip",
    "Condition",
    "Extraction",
    "Generated",
    "Guidance",
    "GuidanceWarning",
    "InputError",
    "ModelDescription",
    "Motion",
    "Sampling",
    "Settings",
    "UnevenDDIMScheduler",
    "__version__",
    "clone",
    "extract_motion",
    "generate",
    "heat_map",
    "load_motion",
    "load_pipeline",
    "motion_guidance",
    "per_frame_norm",
    "preset",
    "read_clip",
    "shared_noise",
    "write_video",
]

_HOME = {
    "Clip": "media.reading",
    "Condition": "media.conditions",
    "Extraction": "settings",
    "Generated": "cloning",
    "Guidance": "settings",
    "GuidanceWarning": "errors",
    "InputError": "errors",
    "ModelDescription": "models",
    "Motion": "motion",
    "Sampling": "settings",
    "Settings": "settings",
    "UnevenDDIMScheduler": "schedule",
    "clone": "cloning",
    "extract_motion": "extraction",
    "generate": "cloning",
    "heat_map": "motion",
    "load_motion": "motion",
    "load_pipeline": "models",
    "motion_guidance": "sampling",
    "per_frame_norm": "backbones.per_frame_norm",
    "preset": "settings",
    "read_clip": "media.reading",
    "shared_noise": "extraction",
    "write_video": "media.writing",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'motionclone' has no attribute {name!r}")
    return getattr(import_module(f"motionclone.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
