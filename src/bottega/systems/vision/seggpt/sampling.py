"""How prompts are put together: spatial ensembles, learned prompts, and films with a memory of frames.

Source: arXiv:2304.03284, sections 3.2 (in-context tuning) and 3.3 (ensembles, videos).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bottega.networks import TargetKind
from bottega.processes.painting import from_paint, painting_loss, to_paint, unknown_half
from bottega.systems.vision.seggpt.model import SegGpt
from bottega.systems.vision.seggpt.objective import nearest_colors

Report = Callable[[int, int, float], None]
"""Told the step, the number of steps and the loss."""


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """Examples: pictures `(count, 3, size, size)` in [0, 1] with their colours alike."""

    pictures: Tensor
    colors: Tensor

    def __len__(self) -> int:
        return len(self.pictures)


def tiled(prompt: Prompt) -> Prompt:
    """The spatial ensemble: all examples in one picture, as a grid of smaller ones; the query stays as it is.

    A grid that is not full repeats the examples from the first one on.
    """
    count, side = len(prompt), math.ceil(math.sqrt(len(prompt)))
    order = torch.arange(side * side, device=prompt.pictures.device) % count
    size = prompt.pictures.shape[-1]

    def grid(parts: Tensor) -> Tensor:
        cells = parts[order].unflatten(0, (side, side)).permute(2, 0, 3, 1, 4)
        return cells.reshape(1, 3, side * size, side * size)

    pictures = F.interpolate(grid(prompt.pictures), size=size, mode="bilinear", antialias=True, align_corners=False)
    return Prompt(pictures.clamp(0, 1), F.interpolate(grid(prompt.colors), size=size, mode="nearest-exact"))


@torch.inference_mode()
def paint(model: SegGpt, prompt: Prompt, query: Tensor, kind: TargetKind) -> Tensor:
    """Colours of one query `(3, size, size)` by the feature ensemble of its prompts, alike, in [0, 1]."""
    return model.paint(prompt.pictures[None], prompt.colors[None], query[None], kind)[0]


def tune(
    model: SegGpt,
    examples: Prompt,
    kind: TargetKind,
    *,
    steps: int,
    rate: float = 0.05,
    seed: int = 0,
    report: Report = lambda *_: None,
) -> Prompt:
    """In-context tuning: a prompt that is learned for one application, while the network stays as it is.

    It starts as the first example, and each step it has to explain an example that is mirrored and cropped at random.

    Args:
        model: Its weights are not changed.
        examples: What the prompt learns from.
        kind: What colours mean.
        steps: Updates of the prompt by Adam.
        rate: Adam's rate, in the network's values.
        seed: Picks examples and crops.
        report: Called after every step.

    Returns:
        One prompt; its values may lie a little outside of [0, 1].

    Source: arXiv:2304.03284, section 3.3, "in-context tuning".
    """
    device, rows = examples.pictures.device, model.config.network.rows
    generator = torch.Generator().manual_seed(seed)
    learned = [to_paint(part[:1]).clone().requires_grad_() for part in (examples.pictures, examples.colors)]
    optimizer = torch.optim.Adam(learned, lr=rate)
    whole = unknown_half(rows, rows, device)[:, rows:]
    kinds = torch.tensor([kind], device=device)
    for step in range(1, steps + 1):
        picture, colors = _varied(examples, generator)
        made = model.network.answer(learned[0][None], learned[1][None], to_paint(picture)[None], kinds)
        loss = painting_loss(made, to_paint(colors)[None], whole)
        for part, gradient in zip(learned, torch.autograd.grad(loss, learned), strict=True):
            part.grad = gradient
        optimizer.step()
        report(step, steps, float(loss.detach()))
    return Prompt(*(from_paint(part.detach()) for part in learned))


def _varied(examples: Prompt, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """One example, mirrored half of the time and cropped to 70 % or more of its side: picture and colours."""
    number, mirror, share, left, top = torch.rand(5, generator=generator).tolist()
    chosen, size = int(number * len(examples)), examples.pictures.shape[-1]
    side = round(size * (0.7 + 0.3 * share))
    rows, columns = int(top * (size - side + 1)), int(left * (size - side + 1))
    parts = []
    for part, mode in ((examples.pictures, "bilinear"), (examples.colors, "nearest-exact")):
        cut = part[chosen : chosen + 1, :, rows : rows + side, columns : columns + side]
        wide = F.interpolate(cut, size=size, mode=mode)[0]
        parts.append(wide.flip(-1) if mirror < 0.5 else wide)  # noqa: PLR2004
    return parts[0], parts[1]


def track(
    model: SegGpt, prompt: Prompt, frames: Iterable[Tensor], colors: Tensor, kind: TargetKind, *, memory: int
) -> Iterator[Tensor]:
    """Paints the frames of a film one after another.

    Each frame sees the prompt and the last `memory` frames with what was found on them, each pixel in the nearest of
    the colours asked for; for one white mask this is the authors' threshold.

    Args:
        model: SegGPT.
        prompt: What to follow, often the first frame with its mask.
        frames: `(3, size, size)` in [0, 1] each.
        colors: `(labels, 3)` in [0, 1], black first.
        kind: What colours mean.
        memory: Frames that are remembered; 0 for none, as in the authors' default.

    Yields:
        Colours of each frame, `(3, size, size)` in [0, 1].
    """
    seen: deque[tuple[Tensor, Tensor]] = deque(maxlen=memory)
    for frame in frames:
        pictures = torch.cat((prompt.pictures, *(picture[None] for picture, _ in seen)))
        shown = torch.cat((prompt.colors, *(found[None] for _, found in seen)))
        made = paint(model, Prompt(pictures, shown), frame, kind)
        labels = torch.from_numpy(nearest_colors(made.movedim(0, -1).cpu().numpy(), colors.cpu().numpy())).long()
        seen.append((frame, colors.to(frame)[labels.to(frame.device)].movedim(-1, 0)))
        yield made
