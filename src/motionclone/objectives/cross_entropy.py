"""Cross-entropy of the strongest attention entries, which does not flatten where the squared error does."""

from torch import Tensor

from motionclone.motion import SparseMap, temporal_attention

LEAST = 1e-4
"""Attention below this pulls no harder: a logarithm would send the gradient to infinity there."""


def energy(query: Tensor, key: Tensor, reference: SparseMap) -> Tensor:
    """g = mean of A_ref log(A_ref / A_gen) over the kept entries of one site; 0 for the reference itself.

    Its gradient with respect to the attention's logits is (share of the row that is kept) A_gen - A_ref at every kept
    entry, so it pulls on frames that the squared error, whose gradient carries a factor A_gen, no longer feels. It goes
    below 0 where the kept entries outgrow the reference's.

    Args:
        query: of the video in the making, (p, heads, f, d).
        key: (p, heads, f, d).
        reference: values and int64 indices, (p, heads, f, k), on the same device.

    Returns:
        A scalar, float32 or better.
    """
    chosen = temporal_attention(query, key).gather(-1, reference.indices).clamp(min=LEAST)
    values = reference.values
    return (values * (values.clamp(min=LEAST) / chosen).log()).mean()
