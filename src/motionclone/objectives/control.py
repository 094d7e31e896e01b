"""Primary control and plain control, the energies of MotionClone (arXiv:2406.05338, Eqs. 4, 6)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from motionclone.motion import QueriesAndKeys, SparseMap, temporal_attention


def energies(queries_and_keys: QueriesAndKeys, reference: Mapping[str, SparseMap]) -> dict[str, Tensor]:
    """g = || L - M A_gen ||^2 at every site of the reference (Eq. 6).

    With k = 1 this is primary control; with k = f, where M is 1 everywhere, it is plain control (Eq. 4).
    The paper writes a sum of squares. The authors' code takes the mean over positions, heads, frames and k, and
    lambda = 2000 belongs to that; so do we.

    Args:
        queries_and_keys: of the video in the making, each (p, heads, f, d).
        reference: sparse maps with values and int64 indices on the same device.

    Returns:
        Site name to a scalar, float32 or better.
    """
    found = {}
    for site, wanted in reference.items():
        attention = temporal_attention(*queries_and_keys[site])
        chosen = attention.gather(-1, wanted.indices)
        found[site] = (chosen - wanted.values).square().mean()
    return found


def total(energy_by_site: Mapping[str, Tensor]) -> Tensor:
    """The sum over sites, as in the authors' code."""
    return torch.stack(list(energy_by_site.values())).sum()
