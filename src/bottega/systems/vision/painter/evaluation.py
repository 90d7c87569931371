"""How well Painter does what examples show, on scenes that training never saw.

Baselines: the damaged picture itself for what is restored, one depth everywhere, and the example's own answer for the
rest. Control: the example is one of another task, or of the next sample.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from bottega.metrics import psnr
from bottega.processes.painting import (
    PaintTask,
    Panoptic,
    class_colors,
    heat_maps,
    read_classes,
    read_depth,
    read_instances,
    read_panoptic,
    read_points,
)
from bottega.room import Measure, Progress, Report
from bottega.systems.vision.painter.config import PainterTasksConfig
from bottega.systems.vision.painter.inference import NEAREST, SMOOTH, painted_answer, square
from bottega.systems.vision.painter.model import PainterSystem
from bottega.worlds import Dice
from bottega.worlds.lessons import Lesson, LessonsWorld, Study, answered, doll_scene
from bottega.worlds.shapes import classes_of

BATCH = 32
NEAR = 0.1  # a joint is found within this share of the picture's side
LEAST_SCORE = 0.55
LEAST_PIXELS = 6
SAME_QUERY = (PaintTask.DEPTH, PaintTask.SEMANTIC, PaintTask.INSTANCES, PaintTask.KEYPOINTS, PaintTask.DENOISE)
SHOWN = {
    PaintTask.DEPTH: ("depth, root mean squared error", "m"),
    PaintTask.SEMANTIC: ("classes, mean overlap", "%"),
    PaintTask.INSTANCES: ("things, F1 at an overlap of a half", "%"),
    PaintTask.KEYPOINTS: ("joints within a tenth of the side", "%"),
    PaintTask.DENOISE: ("noise taken away, PSNR", "dB"),
    PaintTask.DERAIN: ("rain taken away, PSNR", "dB"),
    PaintTask.LIGHTEN: ("light given, PSNR", "dB"),
}

Score = Callable[[Sequence[np.ndarray]], float]


def lessons_of(
    task: PaintTask, config: PainterTasksConfig, count: int, seed: int, split: str = "train"
) -> list[Lesson]:
    """Lessons of one task that training never draws: training's seed is 0."""
    world = LessonsWorld(size=min(max(config.network.size, 32), 512), seed=seed + 1_000_003, split=split)
    return [world.lesson(task, Dice(world.seed, number)) for number in range(count)]


@torch.inference_mode()
def paint_all(
    model: PainterSystem, examples: Sequence[Study], task: PaintTask, queries: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Paintings of queries, each after its own example: float32 `(size, size, 3)`, 0 to 255."""
    size, how = model.config.network.size, NEAREST if task.flat else SMOOTH
    answers = [painted_answer(example, task, model.config) for example in examples]
    made = []
    for start in range(0, len(queries), BATCH):
        part = slice(start, start + BATCH)
        pictures = torch.stack([square(example.picture, size, SMOOTH) for example in examples[part]])
        targets = torch.stack([square(answer, size, how) for answer in answers[part]])
        asked = torch.stack([square(query, size, SMOOTH) for query in queries[part]])
        painted = model.paint(pictures.to(model.device), targets.to(model.device), asked.to(model.device))
        made += list(255 * painted.clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy())
    return made


def evaluate(model: PainterSystem, seed: int, limit: int, report: Report) -> dict[str, Measure]:
    """Figures of every task, of segments, of classes that training never showed, and of telling tasks apart.

    Args:
        model: The model; its network's size is that of the pictures.
        seed: Picks the scenes.
        limit: Most lessons of a task.
        report: Called after every task.
    """
    config, count = model.config, max(limit, 2)
    tasks = list(PaintTask)
    lessons = {task: lessons_of(task, config, count, seed) for task in tasks}
    found: dict[str, Measure] = {}
    for number, task in enumerate(tasks, 1):
        other = tasks[number % len(tasks)]
        own, queries = lessons[task], [lesson.query for lesson in lessons[task]]
        asked = [query.picture for query in queries]
        score = scorer(task, queries, config)
        made = paint_all(model, [lesson.example for lesson in own], task, asked)
        misled = paint_all(model, [lesson.example for lesson in lessons[other]], other, asked)
        name, unit = SHOWN[task]
        found[name] = Measure(
            value=score(made), baseline=score(simplest(task, own, config)), control=score(misled), unit=unit,
            higher_is_better=task is not PaintTask.DEPTH, samples=count,
        )  # fmt: skip
        report(Progress(step=number, total=len(tasks) + 2, stage="paint"))
    found["segments, panoptic quality"] = panoptic_quality(model, lessons, seed, count)
    found["classes never shown, mean overlap"] = unseen_classes(model, seed, count)
    report(Progress(step=len(tasks) + 1, total=len(tasks) + 2, stage="paint"))
    found["the task that the example shows"] = told_apart(confusion(model, seed, count), count)
    report(Progress(step=len(tasks) + 2, total=len(tasks) + 2, stage="paint"))
    return found


def simplest(task: PaintTask, lessons: Sequence[Lesson], config: PainterTasksConfig) -> list[np.ndarray]:
    """The baseline's paintings."""
    if task.restores:
        return [lesson.query.picture.astype(np.float32) for lesson in lessons]
    answers = [painted_answer(lesson.example, task, config).astype(np.float32) for lesson in lessons]
    if task is PaintTask.DEPTH:
        return [np.full_like(answer, answer.mean()) for answer in answers]
    return answers


def scorer(task: PaintTask, queries: Sequence[Study], config: PainterTasksConfig) -> Score:
    """The figure of a task as a function of paintings."""
    match task:
        case PaintTask.DEPTH:
            return partial(depth_error, queries=queries, config=config)
        case PaintTask.SEMANTIC:
            return partial(class_overlap, queries=queries, config=config)
        case PaintTask.INSTANCES:
            return partial(things_found, queries=queries, config=config)
        case PaintTask.KEYPOINTS:
            return partial(joints_found, queries=queries, config=config)
        case _:
            return partial(restored, queries=queries)


def depth_error(paintings: Sequence[np.ndarray], queries: Sequence[Study], config: PainterTasksConfig) -> float:
    """Root mean squared error in metres."""
    gaps = [
        read_depth(made, config.farthest) - query.depth
        for made, query in zip(paintings, queries, strict=True)
        if query.depth is not None
    ]
    return float(np.sqrt(np.mean(np.square(gaps))))


def class_overlap(
    paintings: Sequence[np.ndarray],
    queries: Sequence[Study],
    config: PainterTasksConfig,
    only: Sequence[int] | None = None,
) -> float:
    """Intersection over union in percent, the mean over classes that are there; over all pictures together."""
    colors = class_colors(config.classes)
    table = np.zeros((config.classes, config.classes), dtype=np.int64)
    for made, query in zip(paintings, queries, strict=True):
        if query.classes is not None:
            np.add.at(table, (query.classes.reshape(-1), read_classes(made, colors).reshape(-1)), 1)
    shared, union = table.diagonal(), table.sum(0) + table.sum(1) - table.diagonal()
    chosen = [number for number in (range(config.classes) if only is None else only) if table[number].any()]
    return 100 * float(np.mean(shared[chosen] / union[chosen])) if chosen else 0.0


def things_found(paintings: Sequence[np.ndarray], queries: Sequence[Study], config: PainterTasksConfig) -> float:
    """F1 in percent of things of at least `LEAST_PIXELS`, each found by the surest mask that overlaps it by a half."""
    hits, found, true = 0, 0, 0
    for made, query in zip(paintings, queries, strict=True):
        if query.instances is None:
            continue
        read = read_instances(made, config.locations, least_pixels=LEAST_PIXELS).above(LEAST_SCORE)
        things = [query.instances == number for number in np.unique(query.instances) if number]
        left = [thing for thing in things if thing.sum() >= LEAST_PIXELS]
        true, found = true + len(left), found + len(read.masks)
        for mask in read.masks:
            overlaps = [(mask & thing).sum() / (mask | thing).sum() for thing in left]
            if overlaps and max(overlaps) > 0.5:
                left.pop(int(np.argmax(overlaps)))
                hits += 1
    return 100 * 2 * hits / max(found + true, 1)


def joints_found(paintings: Sequence[np.ndarray], queries: Sequence[Study], config: PainterTasksConfig) -> float:
    """Share in percent of joints in the picture that are read within `NEAR` of its side."""
    hits, total = 0, 0
    for made, query in zip(paintings, queries, strict=True):
        if query.points is not None:
            read = read_points(heat_maps(made, config.brush.count)).points
            seen = query.points[:, 2] > 0
            gaps = np.hypot(*(read - query.points[:, :2])[seen].T)
            hits, total = hits + int((gaps <= NEAR * made.shape[1]).sum()), total + int(seen.sum())
    return 100 * hits / max(total, 1)


def restored(paintings: Sequence[np.ndarray], queries: Sequence[Study]) -> float:
    """The mean peak signal-to-noise ratio in dB against the clean pictures."""
    clean = np.stack([query.clean for query in queries if query.clean is not None])
    made, true = (
        torch.from_numpy(np.asarray(part) / 127.5 - 1).permute(0, 3, 1, 2).float() for part in (paintings, clean)
    )
    return float(psnr(made.clamp(-1, 1), true).mean())


# --- segments, unseen classes, and the same query after different examples --------------------------------------------


def panoptic_quality(model: PainterSystem, lessons: dict[PaintTask, list[Lesson]], seed: int, count: int) -> Measure:
    """Panoptic quality of scenes painted twice, after an example of classes and one of things."""
    config = model.config
    world = LessonsWorld(size=min(max(config.network.size, 32), 512), seed=seed + 2_000_003)
    scenes = [world.scenes().sample(number) for number in range(count)]
    pictures = [scene.picture for scene in scenes]
    kinds = (PaintTask.SEMANTIC, PaintTask.INSTANCES)
    painted = [paint_all(model, [one.example for one in lessons[kind]], kind, pictures) for kind in kinds]
    shown = [[painted_answer(one.example, kind, config) for one in lessons[kind]] for kind in kinds]

    def quality(classes: Sequence[np.ndarray], things: Sequence[np.ndarray]) -> float:
        colors, sums = class_colors(config.classes), np.zeros(4)
        for semantic, instances, scene in zip(classes, things, scenes, strict=True):
            read = read_instances(instances, config.locations, least_pixels=LEAST_PIXELS)
            segments = read_panoptic(semantic, read, colors, config.stuff, least_score=LEAST_SCORE)
            sums += matched(segments, scene.instances, scene.semantic)
        overlap, hits, false, missed = sums
        return 100 * float(overlap / max(hits + 0.5 * false + 0.5 * missed, 1))

    return Measure(
        value=quality(*painted), baseline=quality(*shown), control=quality(painted[1], painted[0]), unit="%",
        samples=count,
    )  # fmt: skip


def matched(read: Panoptic, instances: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Sum of overlaps of matched segments, their number, and the numbers of false and of missed segments.

    Source: Kirillov et al., "Panoptic segmentation", arXiv:1801.00868, section 4.1, over all classes together.
    """
    overlap, hits = 0.0, 0
    truths = [(instances == number, int(classes[instances == number][0])) for number in np.unique(instances)]
    for mask, kind in truths:
        inside = read.segments[mask]
        best = int(np.bincount(inside, minlength=1).argmax())
        if best and read.classes[best - 1] == kind:
            both = mask & (read.segments == best)
            union = both.sum() / (mask | (read.segments == best)).sum()
            overlap, hits = overlap + union * (union > 0.5), hits + int(union > 0.5)
    return np.array([overlap, hits, len(read.classes) - hits, len(truths) - hits])


def unseen_classes(model: PainterSystem, seed: int, count: int) -> Measure:
    """The overlap of classes whose colours training never showed."""
    config = model.config
    lessons = lessons_of(PaintTask.SEMANTIC, config, count, seed, "heldout")
    queries = [lesson.query for lesson in lessons]
    asked = [query.picture for query in queries]
    score = partial(class_overlap, queries=queries, config=config, only=[1 + kind.id for kind in classes_of("heldout")])
    examples = [lesson.example for lesson in lessons]
    moved = [*examples[1:], examples[0]]
    return Measure(
        value=score(paint_all(model, examples, PaintTask.SEMANTIC, asked)),
        baseline=score(simplest(PaintTask.SEMANTIC, lessons, config)),
        control=score(paint_all(model, moved, PaintTask.SEMANTIC, asked)),
        unit="%",
        samples=count,
    )


def confusion(model: PainterSystem, seed: int, count: int) -> np.ndarray:
    """The same queries after examples of different tasks: whose answer each painting is nearest to.

    Args:
        model: The model.
        seed: Picks the scenes, crops around a doll, so that all of `SAME_QUERY` have an answer.
        count: Queries.

    Returns:
        int64 `(5, 5)`: how many paintings after an example of the row's task are nearest to the column's answer.
    """
    config = model.config
    world = LessonsWorld(size=min(max(config.network.size, 32), 512), seed=seed + 3_000_017)
    dice = [Dice(world.seed, number) for number in range(count)]
    scenes = [doll_scene(world.scenes(), one) for one in dice]
    studies = {
        task: [answered(scene, task, one) for scene, one in zip(scenes, dice, strict=True)] for task in SAME_QUERY
    }
    answers = np.stack([[painted_answer(study, task, config) for study in studies[task]] for task in SAME_QUERY])
    table = np.zeros((len(SAME_QUERY), len(SAME_QUERY)), dtype=np.int64)
    for row, task in enumerate(SAME_QUERY):
        examples = [lesson.example for lesson in lessons_of(task, config, count, seed)]
        made = np.stack(paint_all(model, examples, task, [scene.picture for scene in scenes]))
        nearest = np.abs(answers.astype(np.float32) - made).mean(axis=(2, 3, 4)).argmin(axis=0)
        table[row] = np.bincount(nearest, minlength=len(SAME_QUERY))
    return table


def told_apart(table: np.ndarray, count: int) -> Measure:
    """The share of paintings that answer the example's task; control: the share that answer the next one's."""
    tasks = len(table)
    return Measure(
        value=100 * float(table.trace() / table.sum()),
        baseline=100 / tasks,
        control=100 * float(np.roll(table, -1, axis=1).trace() / table.sum()),
        unit="%",
        samples=count * tasks,
    )
