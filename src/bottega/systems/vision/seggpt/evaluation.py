"""Measuring in-context segmentation on contexts that training never saw, beside baselines and a control.

A score is the mean intersection over union of the labels asked for, after each pixel took the nearest colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from bottega.metrics import contour_accuracy, region_similarity
from bottega.networks import TargetKind
from bottega.room import Measure, Progress, Report
from bottega.systems.vision.seggpt.model import SegGpt
from bottega.systems.vision.seggpt.objective import nearest_colors
from bottega.systems.vision.seggpt.sampling import Prompt, tiled, track
from bottega.worlds.contexts import Context, ContextKind, ContextsWorld

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
    spatial: bool = False, colors: np.ndarray = PALETTE,
) -> np.ndarray:  # fmt: skip
    """Colours painted for the last picture of each context, float32 `(contexts, size, size, 3)`.

    Args:
        model: SegGPT.
        contexts: All with more pictures than `prompts`.
        prompts: How many of the first pictures are prompts.
        shuffle: Whether prompts get the targets of the next context: the control.
        spatial: Whether the prompts make one picture.
        colors: Colours of labels.
    """
    device = next(model.parameters()).device
    made = []
    for start in range(0, len(contexts), BATCH):
        part = contexts[start : start + BATCH]
        others = [contexts[(start + i + 1) % len(contexts)] for i in range(len(part))] if shuffle else part
        shown = _tensor(np.stack([one.pictures[:prompts] for one in part]))
        targets = torch.from_numpy(colors[np.stack([one.labels[:prompts] for one in others])]).movedim(-1, -3)
        if spatial:
            grids = [tiled(Prompt(*pair)) for pair in zip(shown.cpu(), targets, strict=True)]
            shown, targets = (
                torch.stack(parts) for parts in zip(*((g.pictures, g.colors) for g in grids), strict=True)
            )
        queries = _tensor(np.stack([one.pictures[-1] for one in part]))
        for same in (True, False):
            chosen = [i for i, one in enumerate(part) if one.same == same]
            if chosen:
                kind = TargetKind.INSTANCE if same else TargetKind.SEMANTIC
                given, colored = shown[chosen].to(device), targets[chosen].to(device)
                painted = model.paint(given, colored, queries[chosen].to(device), kind).cpu()
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


def nearest_pixels(context: Context) -> np.ndarray:
    """The baseline that looks at colours alone: each pixel takes the label of the example's pixels of nearest colours.

    Returns:
        uint8 `(size, size)`: the most frequent label among the five nearest of the first picture, colours smoothed.
    """
    from scipy.ndimage import uniform_filter  # noqa: PLC0415 - start-up time
    from scipy.spatial import KDTree  # noqa: PLC0415

    shown, asked = (uniform_filter(context.pictures[i].astype(np.float32), 3, axes=(0, 1)) for i in (0, -1))
    _, places = KDTree(shown.reshape(-1, 3)).query(asked.reshape(-1, 3), k=5)
    votes = context.labels[0].reshape(-1)[places]
    counts = np.stack([(votes == label).sum(axis=1) for label in range(1 + len(context.names))])
    return counts.argmax(axis=0).astype(np.uint8).reshape(asked.shape[:2])


def baseline(contexts: Sequence[Context]) -> float:
    """The better of two simple methods: the example's own mask, and nearest colours."""
    found = []
    for method in (lambda context: context.labels[0], nearest_pixels):
        values = [overlap(method(one), one.labels[-1], len(one.names)) for one in contexts]
        found.append(float(np.mean([value for each in values for value in each])))
    return max(found)


KINDS = {
    "same things, new view": ContextKind.EMOJI_VIEWS,
    "same emoji, new scene": ContextKind.EMOJI,
    "same figures, new view": ContextKind.FIGURE_VIEWS,
    "same parts, new view": ContextKind.PART_VIEWS,
    "same class, new scene": ContextKind.FIGURES,
    "parts of a class, new scene": ContextKind.PARTS,
}
PROMPTS, FRAMES, MEMORY = (1, 2, 4, 8), 12, 4


def evaluate(model: SegGpt, seed: int, limit: int, report: Report) -> dict[str, Measure]:
    """What is understood of examples: on emoji and classes of figures that training never showed.

    Args:
        model: The model.
        seed: Picks contexts and films.
        limit: Most contexts of each kind; a fourth as many films.
        report: Called after every part.
    """
    count, films, size = max(limit, 2), max(limit // 4, 2), min(max(model.size, 32), 512)
    found: dict[str, Measure] = {}
    total = len(KINDS) + len(PROMPTS) + 4

    def done(stage: str) -> None:
        report(Progress(step=done_parts.pop(0), total=total, stage=stage))

    done_parts = list(range(1, total + 1))
    for name, kind in KINDS.items():
        contexts = drawn((kind,), seed, count, size)
        found[f"mIoU, {name}"] = Measure(
            value=100 * score(contexts, paint_queries(model, contexts)),
            control=100 * score(contexts, paint_queries(model, contexts, shuffle=True)),
            baseline=100 * baseline(contexts), unit="%", samples=count,
        )  # fmt: skip
        done("one example")
    contexts = drawn((ContextKind.EMOJI,), seed + 1, count, size, pictures=1 + PROMPTS[-1])
    for prompts in PROMPTS:
        value = 100 * score(contexts, paint_queries(model, contexts, prompts))
        found[f"mIoU, same emoji, {prompts} examples"] = Measure(value=value, unit="%", samples=count)
        done("several examples")
    together = paint_queries(model, contexts, 4, spatial=True)
    found["mIoU, same emoji, 4 examples in a grid"] = Measure(
        value=100 * score(contexts, together), unit="%", samples=count
    )
    done("spatial ensemble")
    found["colours exchanged, pixels that follow"] = equivariance(
        model, drawn((ContextKind.EMOJI_VIEWS,), seed, count, size)
    )
    done("colours")
    for name, kind in (("emoji", ContextKind.EMOJI_VIEWS), ("figures", ContextKind.FIGURE_VIEWS)):
        world = ContextsWorld(split="heldout", size=size, seed=seed)
        clips = [fewer_labels(world.film(index, FRAMES, kind)) for index in range(films)]
        copied = [np.repeat(clip.labels[:1], FRAMES, axis=0) for clip in clips]
        for memory in (0, MEMORY):
            followed = [follow(model, clip, memory) for clip in clips]
            words = f"J&F, films of {name}, {f'memory of {memory} frames' if memory else 'no memory'}"
            found[words] = Measure(
                value=100 * films_score(clips, followed), baseline=100 * films_score(clips, copied), unit="%",
                samples=films,
            )  # fmt: skip
        done("films")
    return found


def drawn(
    kinds: tuple[ContextKind, ...], seed: int, count: int, size: int, pictures: int = 2
) -> list[Context]:  # fmt: skip
    """Contexts that training never shows."""
    world = ContextsWorld(split="heldout", kinds=kinds, size=size, seed=seed, pictures=pictures)
    return [fewer_labels(one) for one in world.batch(range(count))]


def equivariance(model: SegGpt, contexts: Sequence[Context]) -> Measure:
    """Share of pixels of things whose answer follows when the example's colours change places.

    The control is the share that would agree if the answer did not follow.
    """
    turned = PALETTE[[0, *range(2, len(PALETTE)), 1]]
    plain, other = (paint_queries(model, contexts, colors=colors) for colors in (PALETTE, turned))
    same, stuck = [], []
    for context, one, two in zip(contexts, plain, other, strict=True):
        count = 1 + len(context.names)
        first, second = nearest_colors(one, PALETTE[:count]), nearest_colors(two, turned[:count])
        ignored = nearest_colors(two, PALETTE[:count])
        things = context.labels[-1] > 0
        same.append((first == second)[things].mean())
        stuck.append((first == ignored)[things & (first > 0)].mean() if (things & (first > 0)).any() else 0.0)
    return Measure(
        value=100 * float(np.mean(same)), control=100 * float(np.mean(stuck)), unit="%", samples=len(contexts)
    )


def follow(model: SegGpt, clip: Context, memory: int) -> np.ndarray:
    """Labels of a film's frames, uint8 `(time, size, size)`, from its first frame."""
    like, colors = model.network.mask_token, torch.from_numpy(PALETTE[: 1 + len(clip.names)])
    pictures = _tensor(clip.pictures).to(like)
    first = torch.from_numpy(PALETTE[clip.labels[:1]]).movedim(-1, 1).to(like)
    painted = track(model, Prompt(pictures[:1], first), pictures, colors, TargetKind.INSTANCE, memory=memory)
    return np.stack([nearest_colors(one.movedim(0, -1).cpu().numpy(), colors.numpy()) for one in painted])


def films_score(clips: Sequence[Context], found: Sequence[np.ndarray]) -> float:
    """The mean of region similarity and contour accuracy over all things and all frames but the first."""
    values = []
    for clip, labels in zip(clips, found, strict=True):
        for thing in range(1, 1 + len(clip.names)):
            for frame in range(1, len(labels)):
                pair = labels[frame] == thing, clip.labels[frame] == thing
                values.append((region_similarity(*pair) + contour_accuracy(*pair)) / 2)
    return float(np.mean(values))


def _tensor(pictures: np.ndarray) -> torch.Tensor:
    """Pictures uint8 `(..., height, width, 3)` to `(..., 3, height, width)` in [0, 1]."""
    return torch.from_numpy(pictures).movedim(-1, -3).float() / 255
