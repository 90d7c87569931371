"""Figures of merit as pure functions, each with its source: on the CPU, without gradients, in chunks that fit."""

from bottega.metrics.control import Controlled, with_control
from bottega.metrics.distances import Estimate, frechet_distance, kernel_distance
from bottega.metrics.emoji_pictures import ClassShares, SetDistance, class_shares, set_distances
from bottega.metrics.features import EmbeddingFeatures, FeatureNetwork, PixelFeatures
from bottega.metrics.fidelity import psnr, ssim
from bottega.metrics.films import contour, contour_accuracy, region_similarity
from bottega.metrics.landmarks import LandmarkReader
from bottega.metrics.neighbours import (
    DensityCoverage,
    PrecisionRecall,
    density_coverage,
    precision_recall,
    retrieval_accuracy,
)
from bottega.metrics.ngrams import NGrams
from bottega.metrics.words import exact_match, keyword_overlap, keywords

__all__ = [
    "ClassShares",
    "SetDistance",
    "class_shares",
    "set_distances",
    "Controlled",
    "DensityCoverage",
    "EmbeddingFeatures",
    "Estimate",
    "FeatureNetwork",
    "LandmarkReader",
    "NGrams",
    "PixelFeatures",
    "PrecisionRecall",
    "contour",
    "contour_accuracy",
    "density_coverage",
    "exact_match",
    "frechet_distance",
    "kernel_distance",
    "keyword_overlap",
    "keywords",
    "precision_recall",
    "psnr",
    "region_similarity",
    "retrieval_accuracy",
    "ssim",
    "with_control",
]
