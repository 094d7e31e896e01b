"""IP-Adapters of whatever kind that were given no picture: they have no part in what a UNet computes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from motionclone.backbones.patching import Forward, layered


def adapters(unet: Any) -> int:
    """How many IP-Adapters are loaded."""
    loaded = unet.config.encoder_hid_dim_type == "ip_image_proj"
    return len(unet.encoder_hid_proj.image_projection_layers) if loaded else 0


@contextmanager
def without_pictures(unet: Any, here: Callable[[], bool]) -> Iterator[None]:
    """Inside the `with`, for the calls that `here` tells, the UNet attends to no picture: bit for bit the bare UNet.

    Its attention goes through the pictures' tokens one adapter after the other, so none are to be made of what the
    call brings as "image_embeds", whatever shape each kind of adapter wants of them.
    """

    def none(plain: Forward, *args: Any, **kwargs: Any) -> Any:
        return [] if here() else plain(*args, **kwargs)

    if not adapters(unet):
        yield
        return
    with layered(unet.encoder_hid_proj, "forward", none):
        yield
