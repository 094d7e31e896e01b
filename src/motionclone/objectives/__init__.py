"""What "the same motion" means: energies of a generated clip's temporal attention against a reference's.

An objective is a pure function of one site's query, key and sparse map; guidance sums it over sites.
"""

from motionclone.objectives.control import energy

__all__ = ["energy"]
