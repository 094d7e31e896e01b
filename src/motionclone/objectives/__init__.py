"""What "the same motion" means: energies of a generated clip's temporal attention against a reference's.

An objective is a pure function of one site's query, key and sparse map; guidance sums it over sites. A new one is its
file and a line here: then it is a name that `Guidance.objective` takes.
"""

from collections.abc import Callable

from torch import Tensor

from motionclone.errors import InputError, choice
from motionclone.motion import SparseMap
from motionclone.objectives import cross_entropy
from motionclone.objectives.control import energy

Objective = Callable[[Tensor, Tensor, SparseMap], Tensor]
"""Query and key, (p, heads, f, d), and the reference at one site, to a scalar that is 0 for the reference itself."""

OBJECTIVES: dict[str, Objective] = {"control": energy, "cross-entropy": cross_entropy.energy}


def objective_named(name: str) -> Objective:
    """InputError, naming those there are, if there is none of that name."""
    if name not in OBJECTIVES:
        raise InputError(f"there is no objective {name!r}; {choice(name, OBJECTIVES)}")
    return OBJECTIVES[name]


__all__ = ["OBJECTIVES", "Objective", "energy", "objective_named"]
