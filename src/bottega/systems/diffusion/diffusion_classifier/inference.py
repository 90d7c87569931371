"""Running the classifier: pictures and labels to ranked labels. The only code that users run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bottega.data import Crop, fit_picture, picture_to_tensor, read_picture
from bottega.errors import RequestError
from bottega.processes.diffusion import LabelErrors, Prior, elimination, label_errors
from bottega.results import WordsResult
from bottega.room import PictureFile, Progress, Report
from bottega.systems.diffusion.diffusion_classifier.model import DiffusionClassifier
from bottega.worlds import EmojiWorld
from bottega.worlds.emoji import EMOJI_CLASSES

SHOWN = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifyRequest:
    """What to tell apart."""

    inputs: tuple[PictureFile, ...] = ()
    """Picture files; none for one emoji that the seed draws."""
    labels: tuple[str, ...] = ()
    """Class names or prompts, 2 or more, as the diffusion model takes them; none for the 99 classes of emoji."""
    samples: int = 24
    """Pairs of time and noise that the last labels are compared on, 1 to 10000; more is surer and slower."""
    seed: int = 0
    """The same seed makes the same bits, 0 to 2**31 - 1."""

    def __post_init__(self) -> None:
        if len(self.labels) == 1 or len(set(self.labels)) != len(self.labels):
            raise RequestError.of("labels", self.labels, "two or more different labels, or none for the emoji's")
        if not 1 <= self.samples <= 10_000:
            raise RequestError.of("samples", self.samples, "between 1 and 10000")
        if not 0 <= self.seed < 2**31:
            raise RequestError.of("seed", self.seed, "between 0 and 2**31 - 1")


@torch.inference_mode()
def infer(model: DiffusionClassifier, request: ClassifyRequest, report: Report) -> WordsResult:
    """Ranks the labels of each picture.

    Args:
        model: The classifier, with its diffusion model.
        request: Pictures and labels.
        report: Called after every call of the network; may raise `Cancelled`.

    Returns:
        A line for each picture: its best labels, each with its error, and for all but the first how far the error is
        above the best one's, with the standard error of that.

    Raises:
        RequestError: The diffusion model does not know a label.
        FileError: A file is no picture.
    """
    labels = request.labels or EMOJI_CLASSES
    if request.inputs:
        pictures, sources = [read_picture(Path(name)) for name in request.inputs], request.inputs
    else:
        sample = EmojiWorld(scenes=0.0, seed=request.seed).sample(0)
        pictures, sources = [sample.picture], (sample.caption,)
    classifier = Classifier(model, labels, request.samples, request.seed)
    words = []
    for number, picture in enumerate(pictures):

        def count(done: int, total: int, before: int = number) -> None:
            report(Progress(step=before * total + done, total=len(pictures) * total, stage="compare"))

        words.append(sentence(classifier.errors(classifier.state(picture), count), labels))
    return WordsResult(
        words=tuple(words), sources=tuple(sources), seed=request.seed,
        settings={"labels": len(labels), "samples": request.samples, "rounds": model.config.rounds},
    )  # fmt: skip


class Classifier:
    """A diffusion model with a list of labels, ready to compare them on one picture after another.

    Args:
        model: The classifier.
        labels: Class names or prompts; none for the condition that says nothing.
        samples: Draws for the last labels.
        seed: Source of the noise, which is the same for every picture.
    """

    def __init__(self, model: DiffusionClassifier, labels: Sequence[str], samples: int, seed: int) -> None:
        self.prior: Prior = model.prior
        self.conditions: Any = self.prior.conditions(labels)
        self.rounds = elimination(max(len(labels), 1), samples, rounds=model.config.rounds)
        self.seed = seed

    def state(self, picture: np.ndarray) -> Tensor:
        """A picture, uint8 `(height, width, 3)`, as one state."""
        square = fit_picture(picture, self.prior.size, how=Crop())
        like = self.prior.like
        pictures = picture_to_tensor(square)[None].to(device=like.device, dtype=torch.float32)
        return self.prior.from_pictures(pictures.to(like.dtype))[0]

    def errors(self, state: Tensor, report: Any = lambda done, total: None) -> LabelErrors:  # noqa: ANN401 - Counted
        """The errors of all labels on one state."""
        return label_errors(
            self.prior.denoiser(), state, self.conditions, self.rounds, path=self.prior.path,
            generator=torch.Generator().manual_seed(self.seed), report=report,
        )  # fmt: skip


def sentence(found: LabelErrors, labels: Sequence[str]) -> str:
    """The best labels with their errors in words."""
    best, means = found.best, found.means
    parts = [f"{labels[best]} ({float(means[best]):.4f})"]
    for label in found.ranking[1:SHOWN]:
        gap, error = found.gap(label, best)
        parts.append(f"{labels[label]} (+{gap:.4f} ± {error:.4f})")
    return ", ".join(parts)
