"""Which blocks to compute again in the backward pass, so that the rest fits the memory at the least cost. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Cost:
    """What it costs to compute a block again, and what its backward pass needs. Blocks may lie inside one another."""

    name: str
    flops: int  # of computing it again
    inside: int  # bytes kept of what it computes, those of the blocks in it among them
    inputs: int  # bytes of what it is given
    inner: tuple["Cost", ...] = ()  # in the order they run
    ends_inside: bool = False  # computed again, it ends in the last of the inner, before which it ends if that is, too

    @cached_property
    def own(self) -> int:
        """Bytes kept inside it, but in no block of it."""
        return self.inside - sum(each.inside for each in self.inner)


@dataclass(frozen=True)
class Choice:
    """Blocks that are computed again, and what that comes to."""

    recomputed: frozenset[str]
    flops: int  # more than if everything were kept
    peak: int  # bytes kept at the most, in the forward or in the backward pass
    excess: int  # bytes of that which are over the budget


def cheapest(costs: Sequence[Cost], budget: int) -> Choice:
    """The blocks to compute again so that what is kept never exceeds the budget, at the fewest operations found.

    A price on every byte decides for each block by itself whether it is kept, computed again whole, or computed again
    with the blocks in it computed once more (nested); the lowest price that fits the budget is taken, and improved
    block by block. Where nothing fits, the least excess that was found.

    Args:
        costs: outermost blocks in the order they run.
        budget: bytes.
    """
    everything = frozenset(each.name for each in _all(costs))
    best = _choice(costs, frozenset(), budget)
    if best.excess == 0:
        return best
    starts = [best, _choice(costs, everything, budget)]
    for largest in sorted({0, *(each.inside for each in _all(costs) if each.inner)}):
        # Prices at which a decision may change lie between the cheapest byte and the dearest.
        low, high = 0.0, 2.0 * max(each.flops for each in _all(costs)) + 1
        for _ in range(50):
            price = (low + high) / 2
            fits = _choice(costs, frozenset(_decided(costs, price, largest)), budget).excess == 0
            low, high = (low, price) if fits else (price, high)
        starts.append(_choice(costs, frozenset(_decided(costs, high, largest)), budget))
    fitting = [each for each in starts if each.excess == 0]
    return min((_improved(costs, each, budget) for each in set(fitting or starts)), key=_rank)


def peak(costs: Sequence[Cost], recomputed: frozenset[str]) -> int:
    """Bytes kept at the most: at the end of the forward pass, or while a block is computed again in the backward pass.

    By then, what was kept of later blocks is gone.
    """
    return _needed(costs, recomputed)[1]


def _needed(costs: Sequence[Cost], recomputed: frozenset[str], now: int = 0) -> tuple[int, int, int]:
    """Where `now` so many bytes are kept: bytes after these blocks, at the most, and the operations done again."""
    most = again = 0
    for each in costs:
        again_here = each.name in recomputed
        before = now + each.inputs if again_here else now
        whole, inner_most, inner_again = _needed(each.inner, recomputed, before + each.own)
        now = before if again_here else whole
        most, again = (
            max(most, whole, inner_most),
            again + inner_again + (_again(each, recomputed) if again_here else 0),
        )
    return now, max(most, now), again


def _again(cost: Cost, recomputed: frozenset[str]) -> int:
    """Operations of computing a block again, up to where that ends."""
    last = cost.inner[-1] if cost.ends_inside else None
    return cost.flops - (last.flops if last is not None and last.name in recomputed else 0)


def _choice(costs: Sequence[Cost], recomputed: frozenset[str], budget: int) -> Choice:
    _, most, again = _needed(costs, recomputed)
    return Choice(recomputed, again, most, max(0, most - budget))


def _all(costs: Sequence[Cost]) -> Iterator[Cost]:
    for each in costs:
        yield each
        yield from _all(each.inner)


def _decided(costs: Sequence[Cost], price: float, largest: int) -> Iterator[str]:
    """Blocks to compute again at a price per byte; none whose insides are more than `largest`, unless nested."""
    for each in costs:
        yield from _best(each, price, largest)[1]


def _best(cost: Cost, price: float, largest: int) -> tuple[float, list[str]]:
    inner = [_best(each, price, largest) for each in cost.inner]
    kept = price * cost.own + sum(value for value, _ in inner)
    options: list[tuple[float, list[str]]] = [(kept, [name for _, names in inner for name in names])]
    again = price * cost.inputs + cost.flops
    if cost.inside <= largest or not cost.inner:
        options.append((again, [cost.name]))
    if cost.inner:  # nested
        nested = [name for each in cost.inner for name in (each.name, *(n.name for n in _all(each.inner)))]
        more = sum(each.flops for each in _all(cost.inner))
        options.append((again + more, [cost.name, *nested]))
    return min(options, key=lambda option: option[0])


def _improved(costs: Sequence[Cost], choice: Choice, budget: int) -> Choice:
    """Decide otherwise for one block at a time as long as that fits better, or as well at fewer operations."""
    names = [each.name for each in _all(costs)]
    while True:
        others = (_choice(costs, choice.recomputed ^ {name}, budget) for name in names)
        better = min(others, key=_rank)
        if _rank(better) >= _rank(choice):
            return choice
        choice = better


def _rank(choice: Choice) -> tuple[int, int, int]:
    return choice.excess, choice.flops, choice.peak
