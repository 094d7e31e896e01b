"""How like two motions are, and what videos show. Metrics are pure; only `embeddings` knows a model, CLIP."""

from motionclone.lab.metrics.agreement import Agreement, camera_agreement, flow_agreement, path_agreement
from motionclone.lab.metrics.appearance import appearance_similarity, diversity, temporal_consistency, text_alignment
from motionclone.lab.metrics.camera import camera_cosine, camera_flow, camera_parameters
from motionclone.lab.metrics.embeddings import Embedder, load_embedder
from motionclone.lab.metrics.fidelity import motion_fidelity, motion_fidelity_dmt
from motionclone.lab.metrics.flow import SMALLEST_SIDE, dense_flow, flow_cosine
from motionclone.lab.metrics.likeness import line_agreement, picture_correlation
from motionclone.lab.metrics.path import find_object, path_correlation, path_roughness, seen_fraction
from motionclone.lab.metrics.recognition import ATTRIBUTES, Attribute, alternatives, recognised, shows
from motionclone.lab.metrics.statistics import Interval, bootstrap, paired_difference
from motionclone.lab.metrics.tracks import Tracks, flow_tracks, lucas_kanade_tracks

__all__ = [
    "ATTRIBUTES",
    "SMALLEST_SIDE",
    "Agreement",
    "Attribute",
    "Embedder",
    "Interval",
    "Tracks",
    "alternatives",
    "appearance_similarity",
    "bootstrap",
    "camera_agreement",
    "camera_cosine",
    "camera_flow",
    "camera_parameters",
    "dense_flow",
    "diversity",
    "find_object",
    "flow_agreement",
    "flow_cosine",
    "flow_tracks",
    "line_agreement",
    "load_embedder",
    "lucas_kanade_tracks",
    "motion_fidelity",
    "motion_fidelity_dmt",
    "paired_difference",
    "path_agreement",
    "path_correlation",
    "path_roughness",
    "picture_correlation",
    "recognised",
    "seen_fraction",
    "shows",
    "temporal_consistency",
    "text_alignment",
]
