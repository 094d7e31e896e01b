"""Training-free motion transfer for video diffusion, after MotionClone (arXiv:2406.05338).

Axis order, everywhere: frames are `f c h w` with RGB in [-1, 1]; latents are `b c f h w`; temporal attention maps are
`p heads f f` with p = y * w + x.
"""

__version__ = "0.1.0"
