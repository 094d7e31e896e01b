"""What "the same motion" means: energies of a generated clip's temporal attention against a reference's.

An objective is a pure function of (queries and keys by site, sparse maps by site) to a dict of energies by site, which
guidance sums (`total`).
"""

from motionclone.objectives.control import energies, total

__all__ = ["energies", "total"]
