"""How like two motions are. Pure metrics; nothing here knows models."""

from motionclone.evaluation.flow import dense_flow, flow_cosine
from motionclone.evaluation.path import find_object, path_correlation

__all__ = ["dense_flow", "find_object", "flow_cosine", "path_correlation"]
