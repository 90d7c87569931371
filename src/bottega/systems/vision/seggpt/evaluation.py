"""Measuring in-context segmentation on contexts that training never saw, beside baselines and a control.

A score is the mean intersection over union of the labels asked for, after each pixel took the nearest colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from bottega.networks import TargetKind
from bottega.systems.vision.seggpt.model import SegGpt
from bottega.systems.vision.seggpt.objective import nearest_colors
from bottega.worlds.contexts import Context

PALETTE = np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1)], dtype=np.float32)
"""Colours of labels, 0 first; contexts are tested with up to six labels."""
BATCH = 32


def overlap(found: np.ndarray, true: np.ndarray, count: int) -> list[float]:
    """Intersection over union of labels 1 to `count`; labels that are nowhere are left out."""
    pairs = [(found == label, true == label) for label in range(1, count + 1)]
    return [float((a & b).sum() / (a | b).sum()) for a, b in pairs if (a | b).any()]


def fewer_labels(context: Context) -> Context:
    """The context with as many labels as the palette has colours."""
    most = len(PALETTE) - 1
    labels = np.where(context.labels > most, 0, context.labels).astype(np.uint8)
    return replace(context, labels=labels, names=context.names[:most])


@torch.inference_mode()
def paint_queries(
    model: SegGpt, contexts: Sequence[Context], prompts: int = 1, *, shuffle: bool = False,
    colors: np.ndarray = PALETTE,
) -> np.ndarray:  # fmt: skip
    """Colours painted for the last picture of each context, float32 `(contexts, size, size, 3)`.

    Args:
        model: SegGPT.
        contexts: All with more pictures than `prompts`.
        prompts: How many of the first pictures are prompts.
        shuffle: Whether prompts get the targets of the next context: the control.
        colors: Colours of labels.
    """
    device = next(model.parameters()).device
    made = []
    for start in range(0, len(contexts), BATCH):
        part = contexts[start : start + BATCH]
        others = [contexts[(start + i + 1) % len(contexts)] for i in range(len(part))] if shuffle else part
        shown = _tensor(np.stack([one.pictures[:prompts] for one in part])).to(device)
        targets = torch.from_numpy(colors[np.stack([one.labels[:prompts] for one in others])])
        queries = _tensor(np.stack([one.pictures[-1] for one in part])).to(device)
        for same in (True, False):
            chosen = [i for i, one in enumerate(part) if one.same == same]
            if chosen:
                kind = TargetKind.INSTANCE if same else TargetKind.SEMANTIC
                painted = model.paint(
                    shown[chosen], targets.movedim(-1, -3)[chosen].to(device), queries[chosen], kind
                ).cpu()
                made += [(start + i, one) for i, one in zip(chosen, painted, strict=True)]
    ordered = [one for _, one in sorted(made, key=lambda pair: pair[0])]
    return torch.stack(ordered).movedim(1, -1).numpy()


def score(contexts: Sequence[Context], painted: np.ndarray, colors: np.ndarray = PALETTE) -> float:
    """The mean intersection over union of what was painted."""
    found = [
        overlap(nearest_colors(one, colors[: 1 + len(context.names)]), context.labels[-1], len(context.names))
        for context, one in zip(contexts, painted, strict=True)
    ]
    return float(np.mean([value for values in found for value in values]))


def _tensor(pictures: np.ndarray) -> torch.Tensor:
    """Pictures uint8 `(..., height, width, 3)` to `(..., 3, height, width)` in [0, 1]."""
    return torch.from_numpy(pictures).movedim(-1, -3).float() / 255
