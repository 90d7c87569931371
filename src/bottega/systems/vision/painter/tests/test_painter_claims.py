import dataclasses
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image

from bottega.errors import FileError, RequestError
from bottega.networks import PainterConfig
from bottega.processes.painting import LocationColors, PaintTask, PointBrush, class_colors, painting_loss
from bottega.room import silent
from bottega.systems.vision.painter.config import PRESETS, TINY, PainterTasksConfig
from bottega.systems.vision.painter.evaluation import confusion, evaluate, matched, things_found, told_apart
from bottega.systems.vision.painter.inference import PainterRequest, Reading, infer, painted_answer
from bottega.systems.vision.painter.model import PainterSystem
from bottega.systems.vision.painter.objective import ON_POINT, painter_loss, pixel_weights, visible_enough
from bottega.systems.vision.painter.recipe import (
    Augmentation,
    PainterRecipe,
    changed,
    cropped_canvas,
    layer_of,
    painter_recipe,
)
from bottega.systems.vision.painter.system import SYSTEM
from bottega.training import FitSettings
from bottega.worlds import Dice
from bottega.worlds.lessons import FolderOfLessons, LessonsWorld, Study

SMALL = dataclasses.replace(
    TINY,
    network=PainterConfig(
        size=32, patch_size=8, width=32, depth=3, num_heads=2, merge_index=0, taps=(1, 2), decoder_width=8,
        position_rows=4, drop_path=0.0,
    ),
)  # fmt: skip
WORLD = LessonsWorld(size=32)


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return PainterSystem(SMALL).eval()


def generator(seed=1):
    return torch.Generator().manual_seed(seed << 32)


# --- lessons ----------------------------------------------------------------------------------------------------------


def test_lessons_are_functions_of_their_index_and_have_their_answer():
    fields = {
        PaintTask.DEPTH: "depth", PaintTask.SEMANTIC: "classes", PaintTask.INSTANCES: "instances",
        PaintTask.KEYPOINTS: "points", PaintTask.DENOISE: "clean", PaintTask.DERAIN: "clean",
        PaintTask.LIGHTEN: "clean",
    }  # fmt: skip
    drawn = WORLD.batch(range(60))
    assert {lesson.task for lesson in drawn} == set(PaintTask)
    for index, lesson in enumerate(drawn[:20]):
        again = WORLD.sample(index)
        assert np.array_equal(lesson.query.picture, again.query.picture)
        for study in (lesson.example, lesson.query):
            there = {name for name in fields.values() if getattr(study, name) is not None}
            assert there == {fields[lesson.task]}
            assert painted_answer(study, lesson.task, SMALL).shape == (32, 32, 3)
    assert not np.array_equal(drawn[0].example.picture, drawn[0].query.picture)


def test_dolls_fill_their_pictures():
    world = LessonsWorld(size=64, tasks=(PaintTask.KEYPOINTS,))
    for lesson in world.batch(range(10)):
        assert lesson.query.points is not None
        inside = lesson.query.points[lesson.query.points[:, 2] > 0]
        assert len(inside) >= 11
        assert np.ptp(inside[:, 1]) > 20


def test_a_study_without_the_answer_is_refused():
    with pytest.raises(RequestError, match="depth"):
        painted_answer(Study(picture=np.zeros((8, 8, 3), np.uint8)), PaintTask.DEPTH, SMALL)


# --- the loss ---------------------------------------------------------------------------------------------------------


def test_nothing_is_learned_from_pixels_that_are_visible_or_invalid():
    torch.manual_seed(0)
    made = torch.randn(2, 3, 16, 8, requires_grad=True)
    masked = torch.rand(2, 4, 2) < 0.5
    weights = (torch.rand(2, 3, 16, 8) < 0.5).float()
    painting_loss(made, torch.randn(2, 3, 16, 8), masked, weights).backward()
    counts = masked.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None] & (weights > 0)
    assert (made.grad[~counts] == 0).all()
    assert (made.grad[counts] != 0).all()


def test_weights_follow_the_tasks():
    lit = torch.zeros(3, 64, 32)
    lit[:, 10:20, 5:15] = 1.0
    for task in (PaintTask.DEPTH, PaintTask.SEMANTIC):
        assert torch.equal(pixel_weights(task, lit), lit)
    assert torch.equal(pixel_weights(PaintTask.INSTANCES, lit), torch.ones_like(lit))
    assert pixel_weights(PaintTask.KEYPOINTS, lit).unique().tolist() == [1.0, ON_POINT]
    assert torch.equal(pixel_weights(PaintTask.DENOISE, lit * 0), torch.ones_like(lit))
    for task in (PaintTask.INSTANCES, PaintTask.KEYPOINTS):
        assert pixel_weights(task, lit * 0).sum() == 0
    red = lit.clone()
    red[1:] = 0.0  # a class may have no green and no blue, but depth is grey
    assert pixel_weights(PaintTask.SEMANTIC, red).sum() == lit.sum()
    assert pixel_weights(PaintTask.DEPTH, red).sum() == 0


def test_a_sample_that_shows_nothing_teaches_nothing(small):
    torch.manual_seed(1)
    pictures, targets = torch.rand(2, 3, 64, 32), torch.rand(2, 3, 64, 32)
    masked = torch.zeros(2, 8, 4, dtype=torch.bool)
    masked[:, 4:] = True
    targets[1, :, :32] = 0.0  # all that is visible of the second is black
    assert visible_enough(targets, masked).tolist() == [True, False]
    weights = torch.ones_like(targets)
    both = painter_loss(small.network, pictures, targets, masked, weights)
    first = painter_loss(small.network, pictures[:1], targets[:1], masked[:1], weights[:1])
    assert both.item() == pytest.approx(first.item(), rel=1e-4)


# --- the recipe -------------------------------------------------------------------------------------------------------


def test_masks_hide_half_of_the_patches_or_the_query(small):
    recipe = PainterRecipe(small, WORLD, halves=0.5)
    batch = recipe.batch(list(range(40)), generator())
    assert batch.pictures.shape == batch.targets.shape == batch.weights.shape == (40, 3, 64, 32)
    assert (batch.masked.flatten(1).sum(1) == 16).all()
    halves = batch.masked[:, 4:].flatten(1).all(1)
    assert 8 < halves.sum() < 32
    assert torch.equal(recipe.batch([3], generator()).targets[0], batch.targets[3])  # whatever batch it is in
    assert not torch.equal(recipe.batch(list(range(40)), generator(2)).masked, batch.masked)


def test_things_and_key_points_are_never_cropped(small):
    recipe = PainterRecipe(small, WORLD, augment=Augmentation())
    for task in PaintTask:
        lesson = WORLD.lesson(task, Dice(1, 1))
        plain = PainterRecipe(small, WORLD).canvas(lesson, Random(0), half=True)
        augmented = recipe.canvas(lesson, Random(0), half=True)
        assert torch.equal(plain[1], augmented[1]) == (not task.crops)
        assert torch.equal(plain[2], augmented[2]) == (not task.crops)


def test_crops_keep_pictures_and_paintings_together():
    random = Random(3)
    picture = np.arange(32 * 32 * 3, dtype=np.uint32).reshape(32, 32, 3).astype(np.uint8)
    colors = class_colors(4)
    target = np.kron(np.arange(4).reshape(2, 2), np.ones((16, 16), int))
    for _ in range(5):
        made = changed((picture, colors[target]), Augmentation(), random, restores=False, how=Image.Resampling.NEAREST)
        assert {tuple(color) for color in made[1].reshape(-1, 3)} <= {tuple(color) for color in colors}
        same = changed((picture, picture), Augmentation(), random, restores=True, how=Image.Resampling.BICUBIC)
        assert np.array_equal(*same)
    canvas = torch.rand(3, 64, 32)
    pictures, targets = cropped_canvas(canvas, canvas, 0.3, random, flat=False)
    assert torch.equal(pictures, targets)
    assert pictures.shape == canvas.shape


def test_published_sizes_have_the_published_recipe():
    with torch.device("meta"):
        large = PainterSystem(PRESETS["vit_l"].config)
    recipe = painter_recipe(large, WORLD)
    assert (recipe.halves, recipe.layer_decay, recipe.masks.masked) == (0.1, 0.8, 784)
    assert (recipe.masks.smallest, recipe.masks.largest) == (16, 392)
    groups = recipe.parameter_groups(FitSettings(steps=1, batch_size=1, learning_rate=1.0))
    rates = {id(group["params"][0]): group["lr"] for group in groups}
    assert rates[id(large.network.patch_embed.proj.weight)] == pytest.approx(0.8**25)
    assert rates[id(large.network.blocks[23].mlp.fc1.weight)] == pytest.approx(0.8)
    assert rates[id(large.network.decoder.head.weight)] == 1.0
    assert layer_of("positions", 24) == 0
    with pytest.raises(TypeError, match="PainterSystem"):
        painter_recipe(torch.nn.Linear(1, 1), WORLD)


def test_one_batch_is_learned_and_every_parameter_takes_part():
    torch.manual_seed(0)
    system = PainterSystem(SMALL)
    recipe = PainterRecipe(system, WORLD)
    batch = recipe.batch(list(range(4)), generator())
    optimizer = torch.optim.AdamW(system.parameters(), 2e-3)
    losses = []
    for step in range(150):
        loss = painter_loss(system.network, batch.pictures, batch.targets, batch.masked, batch.weights)
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            silent_ones = [name for name, p in system.named_parameters() if p.grad is None or not p.grad.any()]
            assert not silent_ones
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.35 * losses[0]


# --- running ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", [task for task in Reading if task is not Reading.PICTURE])
def test_every_task_is_read(small, task):
    result = infer(small, PainterRequest(task=task), silent)
    arrays = result.arrays()
    names = {
        Reading.SEMANTIC: {"classes"}, Reading.INSTANCES: {"masks", "scores", "centers"},
        Reading.PANOPTIC: {"segments", "classes", "things", "scores"}, Reading.DEPTH: {"depth"},
        Reading.KEYPOINTS: {"keypoints", "scores"},
    }  # fmt: skip
    assert set(arrays) == {"painted"} | names.get(task, set())
    assert result.items()[0].shape == (32, 32, 3)


def test_pictures_of_other_shapes_are_painted_in_their_own(small, tmp_path):
    random = np.random.default_rng(0)
    sizes = {"query": (40, 56), "wide": (20, 90), "example": (64, 50), "target": (64, 50)}
    for name, shape in sizes.items():
        Image.fromarray(random.integers(0, 256, (*shape, 3), np.uint8)).save(tmp_path / f"{name}.png")
    path = {name: str(tmp_path / f"{name}.png") for name in sizes}
    request = PainterRequest(
        inputs=(path["query"], path["wide"]), task=Reading.PICTURE, prompt=path["example"], target=path["target"]
    )
    result = infer(small, request, silent)
    assert [item.shape for item in result.items()] == [(40, 56, 3), (20, 90, 3)]
    assert set(result.arrays()) == {"painted_0", "painted_1"}
    assert result.texts()[1].endswith("wide.png")
    [saved] = result.save(tmp_path / "out.npz")
    assert np.load(saved)["painted_0"].shape == (40, 56, 3)
    classes = infer(small, dataclasses.replace(request, task=Reading.SEMANTIC), silent).arrays()["classes_0"]
    assert classes.shape == (40, 56)


def test_the_example_changes_what_is_painted(small):
    lesson, other = (WORLD.lesson(PaintTask.DEPTH, Dice(4, number)) for number in range(2))
    size = SMALL.network.size
    from bottega.systems.vision.painter.inference import NEAREST, square

    query = square(lesson.query.picture, size, NEAREST)[None]
    made = [
        small.paint(
            square(one.example.picture, size, NEAREST)[None],
            square(painted_answer(one.example, PaintTask.DEPTH, SMALL), size, NEAREST)[None],
            query,
        )
        for one in (lesson, other)
    ]
    assert not torch.allclose(made[0], made[1])


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt": "a.png"},
        {"task": Reading.PICTURE},
        {"flip_test": True},
        {"least_score": 2.0},
        {"seed": -1},
        {"things": "a.png"},
        {"task": Reading.PANOPTIC, "prompt": "a.png", "target": "b.png"},
    ],
)
def test_requests_that_cannot_be_are_refused(wrong):
    with pytest.raises(RequestError):
        PainterRequest(**wrong)


def test_lessons_in_a_folder(tmp_path, small):
    with pytest.raises(FileError, match="_target"):
        FolderOfLessons(tmp_path)
    for task in (PaintTask.DEPTH, PaintTask.DENOISE):
        (tmp_path / task.value).mkdir()
        for number in range(3):
            for name in (f"{number}.png", f"{number}_target.png"):
                Image.new("RGB", (40, 30), (number * 40 + 20, 9, 9)).save(tmp_path / task.value / name)
    (tmp_path / "depth" / "lonely.png").write_bytes(b"")
    folder = SYSTEM.open_source(tmp_path)
    assert len(folder) == 6
    for index in range(6):
        lesson = folder.sample(index)
        assert lesson.task is (PaintTask.DEPTH if index < 3 else PaintTask.DENOISE)
        assert not np.array_equal(lesson.example.picture, lesson.query.picture)
    batch = PainterRecipe(small, folder, augment=Augmentation()).batch([0, 4], generator())
    assert batch.pictures.shape == (2, 3, 64, 32)


def test_some_tasks_alone():
    world = SYSTEM.open_source("lessons:depth,keypoints")
    assert {world.sample(index).task for index in range(20)} == {PaintTask.DEPTH, PaintTask.KEYPOINTS}
    assert len(SYSTEM.open_source("lessons").tasks) == len(PaintTask)
    with pytest.raises(RequestError, match="derain"):
        SYSTEM.open_source("lessons:colour")


# --- figures ----------------------------------------------------------------------------------------------------------


def test_perfect_paintings_have_perfect_figures():
    config = PainterTasksConfig(
        network=SMALL.network, classes=27, stuff=(0,), joints=TINY.joints, brush=TINY.brush, locations=LocationColors()
    )
    lessons = [WORLD.lesson(PaintTask.INSTANCES, Dice(9, number)) for number in range(6)]
    queries = [lesson.query for lesson in lessons]
    painted = [painted_answer(query, PaintTask.INSTANCES, config) for query in queries]
    assert things_found(painted, queries, config) > 95
    assert things_found(painted[1:] + painted[:1], queries, config) < 60
    assert PointBrush(count=13).count == len(TINY.joints)


def test_matching_by_hand():
    from bottega.processes.painting import Panoptic

    truth = np.array([[0, 0, 1, 1]] * 4)
    classes = np.array([[0, 0, 7, 7]] * 4)
    read = Panoptic(
        segments=np.array([[1, 1, 2, 3]] * 4), classes=np.array([0, 7, 7]), things=np.array([False, True, True]),
        scores=np.ones(3, np.float32),
    )  # fmt: skip
    assert matched(read, truth, classes).tolist() == [1.0, 1, 2, 1]  # the thing is found by exactly a half: not enough


def test_evaluation_has_controls(small):
    seen = []
    found = evaluate(small, 0, 2, seen.append)
    assert [progress.step for progress in seen] == list(range(1, seen[-1].total + 1))
    assert len(found) == 10
    assert all(np.isfinite(measure.value) and measure.control is not None for measure in found.values())
    table = confusion(small, 0, 3)
    assert table.sum(axis=1).tolist() == [3] * 5
    perfect = told_apart(4 * np.eye(5, dtype=int), 4)
    assert (perfect.value, perfect.control, perfect.baseline) == (100.0, 0.0, 20.0)
