"""Training-free motion transfer for video diffusion, after MotionClone (arXiv:2406.05338).

    pipe = load_pipeline("mini")
    clip = read_clip("tiger.mp4", height=64, width=64)
    motion = extract_motion(pipe, clip.frames)
    with motion_guidance(pipe, motion, preset("mini").guidance):
        frames = pipe("a red star on blue waves", num_frames=16, guidance_scale=4).frames[0]

Axis order, everywhere: frames are `f c h w` with RGB in [-1, 1]; latents are `b c f h w`; temporal attention maps are
`p heads f f` with p = y * w + x. Importing this package loads nothing; names load their modules when first used.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Clip": "video",
    "Extraction": "settings",
    "Generated": "cloning",
    "Guidance": "settings",
    "InputError": "errors",
    "ModelDescription": "pipelines",
    "Motion": "motion",
    "Sampling": "settings",
    "Settings": "settings",
    "UnevenDDIMScheduler": "schedule",
    "clone": "cloning",
    "extract_motion": "extraction",
    "generate": "cloning",
    "heat_map": "motion",
    "load_motion": "motion",
    "load_pipeline": "pipelines",
    "motion_guidance": "sampling",
    "per_frame_norm": "backbones.per_frame_norm",
    "preset": "settings",
    "read_clip": "video",
    "write_video": "video_writing",
}

__all__ = [*sorted(_HOME), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'motionclone' has no attribute {name!r}")
    return getattr(import_module(f"motionclone.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
