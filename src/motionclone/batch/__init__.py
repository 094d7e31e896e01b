"""Many videos: what is asked for, what there is already, and who makes the rest."""
