"""Primary control and plain control, the energies of MotionClone (arXiv:2406.05338, Eqs. 4, 6)."""

from torch import Tensor

from motionclone.motion import SparseMap, temporal_attention


def energy(query: Tensor, key: Tensor, reference: SparseMap) -> Tensor:
    """g = || L - M A_gen ||^2 at one site (Eq. 6).

    With k = 1 this is primary control; with k = f, where M is 1 everywhere, it is plain control (Eq. 4).
    The paper writes a sum of squares. The authors' code takes the mean over positions, heads, frames and k, and
    lambda = 2000 belongs to that; so do we. It sums over sites.

    Args:
        query: of the video in the making, (p, heads, f, d).
        key: (p, heads, f, d).
        reference: values and int64 indices, (p, heads, f, k), on the same device.

    Returns:
        A scalar, float32 or better.
    """
    chosen = temporal_attention(query, key).gather(-1, reference.indices)
    return (chosen - reference.values).square().mean()
