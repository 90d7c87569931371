"""The room: every method on any teacher, with nothing of the teacher in its weights."""

import contextlib
import dataclasses

import pytest
import torch

from bottega.errors import Cancelled, RequestError
from bottega.processes.diffusion import Ddim, Edm, Epsilon, Prior, RectifiedFlow, V, Velocity, Vp
from bottega.processes.distillation import Colourfulness, GuidanceRange, teacher_of
from bottega.room import silent
from bottega.systems.diffusion.distillation.config import (
    PRESETS,
    Ahead,
    DistillationConfig,
    Guided,
    LatentConsistency,
    Multistep,
    Progressive,
)
from bottega.systems.diffusion.distillation.evaluation import evaluate
from bottega.systems.diffusion.distillation.inference import DistillationRequest, draw, infer
from bottega.systems.diffusion.distillation.model import Distillation, prior, strengths
from bottega.systems.diffusion.distillation.objective import segment_task, whole_segment_task
from bottega.systems.diffusion.distillation.recipe import STAGES, DistillationRecipe
from bottega.systems.diffusion.distillation.system import DistillationOptions, MethodName, configure
from bottega.training import Optimizer, Precision, draw_generators, fit
from bottega.worlds import EmojiWorld

SIDE, WORDS = 16, ("red heart", "cat face", "pizza")
METHODS = [preset.config.method for name, preset in PRESETS.items() if "imagenet" not in name]
BRIEF = [
    dataclasses.replace(method, teacher_steps=8) if isinstance(method, Progressive | Guided) else method
    for method in METHODS
]


class Net(torch.nn.Module):
    """A small network of states of any shape, whose condition is a tuple of tensors."""

    def __init__(self, shape):
        super().__init__()
        size = torch.Size(shape).numel()
        self.first, self.last = torch.nn.Linear(size + 4, 24), torch.nn.Linear(24, size)
        self.words = torch.nn.Embedding(len(WORDS) + 1, 3)

    def forward(self, x, t, cond):
        parts = (x.flatten(1), self.words(cond[0]), torch.log1p(t.clamp(min=0))[:, None])
        return self.last(torch.nn.functional.silu(self.first(torch.cat(parts, 1)))).view_as(x)


def teacher(path, prediction, shape=(3, SIDE, SIDE)):
    torch.manual_seed(0)
    network = Net(shape).eval()

    def condition(texts):
        for text in texts:
            if text not in WORDS:
                raise RequestError.of("word", text, f"one of {WORDS}")
        return (torch.tensor([WORDS.index(text) for text in texts]),)

    def to_pictures(states):
        return states.reshape(len(states), -1)[:, : 3 * SIDE * SIDE].reshape(-1, 3, SIDE, SIDE)

    return Prior(
        network=network, path=path, prediction=prediction, shape=shape, to_pictures=to_pictures,
        from_pictures=lambda pictures: pictures.reshape(-1, *shape), size=SIDE, condition=condition,
        null_cond=(torch.tensor([len(WORDS)]),), input_of=lambda sample: WORDS[len(sample.caption) % 3],
    )  # fmt: skip


TEACHERS = {
    "vp, noise": lambda: teacher(Vp(), Epsilon()),
    "flow, velocity, flat states": lambda: teacher(RectifiedFlow(t_min=1e-3, t_max=0.999), Velocity(), (768,)),
    "edm, v": lambda: teacher(Edm(), V()),
}


def made(config, which="vp, noise"):
    torch.manual_seed(1)
    model = Distillation(config)
    model.connect(TEACHERS[which]())
    return model


def settings(steps, **changes):
    return dataclasses.replace(
        STAGES[0].settings, steps=steps, batch_size=4, warmup_steps=0, compile=False, workers=0, preview_every=0,
        save_every=0, precision=Precision.FP32, optimizer=Optimizer.ADAMW, **changes,
    )  # fmt: skip


def source():
    return EmojiWorld(split="train", scenes=0.0, size=SIDE, length=8)


# --------------------------------------------------------------------------------------------------- every combination
@pytest.mark.parametrize("which", TEACHERS)
@pytest.mark.parametrize("method", BRIEF, ids=lambda m: type(m).__name__)
def test_every_method_distils_every_teacher(method, which, tmp_path):
    varies = isinstance(method, Guided | LatentConsistency)
    guidance = GuidanceRange(low=1.0, high=4.0 if varies else 1.0)
    spacing = PRESETS["consistency"].config.spacing if which.startswith("edm") else PRESETS["tiny"].config.spacing
    model = made(DistillationConfig(method=method, guidance=guidance, spacing=spacing), which)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    frozen = {name: value.clone() for name, value in model.teacher.network.state_dict().items()}
    recipe = DistillationRecipe(model, source())
    result = fit(recipe, settings(4), tmp_path)
    assert torch.isfinite(torch.tensor(result.loss))
    after = model.state_dict()
    unmoved = [name for name, value in before.items() if torch.equal(value, after[name])]
    assert not [name for name in unmoved if "patterns" not in name]
    assert all(torch.equal(value, frozen[name]) for name, value in model.teacher.network.state_dict().items())
    assert set(after) == {name for name in after if name.startswith("student.")}
    pictures = infer(model, DistillationRequest(inputs=("pizza",), count=2, steps=2), silent).pictures
    assert pictures.shape == (2, SIDE, SIDE, 3)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_say_what_their_rounds_are(name):
    config = PRESETS[name].config
    rounds = config.rounds
    assert rounds[-1] in (1, config.steps)
    if isinstance(config.method, Multistep):
        assert rounds == (*config.method.segments, config.steps)
    if isinstance(config.method, Progressive):
        assert rounds == (16, 8, 4)
    if isinstance(config.method, Guided):
        assert rounds == (0, 16, 8, 4)


# ----------------------------------------------------------------------------------------------------------- samplers
def test_a_fresh_student_in_segments_is_its_teacher_under_ddim():
    model = made(PRESETS["tiny"].config)
    for steps in (1, 2, 4, 8):
        words, scale = ["pizza", "cat face", ""], strengths(model, None, 3)
        with torch.no_grad():
            student = draw(model, words, scale, steps=steps, seed=3, report=lambda *_: None)
            times = model.times(steps)
            start = model.teacher.start(draw_generators(3, 3), times[0])
            cond = model.conditions(words)
            plain = Ddim()(teacher_of(model.teacher, GuidanceRange(low=1, high=1)), start, times, model.path, cond=cond)
        torch.testing.assert_close(student, plain)


def test_items_depend_on_their_own_noise_alone():
    model = made(PRESETS["tiny"].config)
    one = infer(model, DistillationRequest(inputs=("pizza",), seed=4), silent).pictures
    many = infer(model, DistillationRequest(inputs=("pizza", "cat face"), seed=4), silent).pictures
    assert (one[0].astype(int) - many[0]).max() <= 1


def test_a_student_is_a_prior():
    for name in ("tiny", "lcm"):
        model = made(PRESETS[name].config)
        student = prior(model)
        x = torch.randn(2, *student.shape, generator=torch.Generator().manual_seed(0))
        cond = student.conditions(["pizza", "cat face"])
        made_x0 = student.denoiser()(x, 0.5, cond)
        torch.testing.assert_close(made_x0, model.teacher.denoiser()(x, 0.5, model.conditions(["pizza", "cat face"])))
        assert torch.isfinite(student.guided(2.0)(x, 0.5, cond)).all()


# ------------------------------------------------------------------------------------------------------- other networks
def test_in_each_round_the_student_of_the_last_one_teaches(tmp_path):
    model = made(
        DistillationConfig(method=Progressive(teacher_steps=8), steps=2, guidance=GuidanceRange(low=1, high=1))
    )
    recipe, seen = DistillationRecipe(model, source()), {}

    def keep(progress):
        seen[progress.step] = {name: value.clone() for name, value in model.student.state_dict().items()}

    fit(recipe, settings(4), tmp_path, report=keep)
    teaches = recipe.model.other.state_dict()
    assert model.config.rounds == (4, 2)
    assert all(torch.equal(value, seen[2][name]) for name, value in teaches.items())
    assert not all(torch.equal(value, seen[4][name]) for name, value in teaches.items())


def test_the_target_follows_the_student(tmp_path):
    method = Multistep(segments=(), teacher_steps=8, target_decay=0.75)
    model = made(DistillationConfig(method=method, guidance=GuidanceRange(low=1, high=1)))
    start = {name: value.clone() for name, value in model.student.state_dict().items()}
    recipe = DistillationRecipe(model, source())
    fit(recipe, settings(1), tmp_path)
    for name, value in recipe.model.other.state_dict().items():
        torch.testing.assert_close(value, 0.75 * start[name] + 0.25 * model.student.state_dict()[name])


# ---------------------------------------------------------------------------------------------------------------- MLCM
def test_whole_segments_end_where_single_steps_lead():
    config = DistillationConfig(method=Multistep(teacher_steps=16, segments=(8,), ahead=Ahead.SEGMENT))
    model = made(config)
    recipe = DistillationRecipe(model, source())
    pool = recipe.model.pool
    visit = pool.visit(0, 3)
    task, place = whole_segment_task(model, visit, 4)
    assert place.tolist() == [4, 4, 4]
    x = visit
    for _ in range(4):
        single = segment_task(model, x, 4)
        x = dataclasses.replace(x, x=single.pair.next_x, place=x.place + 1)
        assert torch.equal(single.pair.end, task.pair.end[:3])
    torch.testing.assert_close(task.pair.next_x[:3], x.x)
    assert task.pair.x.shape[0] == 12
    off = dataclasses.replace(visit, place=torch.tensor([3, 0, 2]))  # rows in the middle of a segment
    task, place = whole_segment_task(model, off, 4)
    assert place.tolist() == [4, 4, 4]
    assert (task.pair.t[[3, 9]] == task.pair.end[[3, 9]]).all()
    assert (task.pair.t >= task.pair.end).all()


@pytest.mark.parametrize("name", ["tiny", "guided"])
def test_a_resumed_run_has_the_same_bits(name, tmp_path):
    config = PRESETS[name].config
    if name == "guided":
        config = dataclasses.replace(config, method=Guided(teacher_steps=8))
    finals = []
    for stops in ((6,), (4, 6)):
        for stop in stops:
            model = made(config)
            with contextlib.suppress(Cancelled):
                fit(DistillationRecipe(model, source()), settings(6), tmp_path / str(len(stops)), report=stopper(stop))
        finals.append(model.state_dict())
    assert all(torch.equal(value, finals[1][key]) for key, value in finals[0].items())


def stopper(stop):
    """Stops a run of six updates after some of them."""

    def report(progress):
        if progress.step == stop < 6:
            raise Cancelled

    return report


def test_reward_is_logged_and_pulls(tmp_path):
    method = Multistep(reward=Colourfulness(), reward_weight=0.01, segments=(), teacher_steps=8)
    config = DistillationConfig(method=method, guidance=GuidanceRange(low=1.0, high=1.0))
    vivid = {}
    for weight in (0.0, 0.05):
        model = made(dataclasses.replace(config, method=dataclasses.replace(method, reward_weight=weight)))
        fit(DistillationRecipe(model, source()), settings(25, learning_rate=3e-3), tmp_path / str(weight))
        with torch.no_grad():
            states = draw(model, ["pizza"] * 16, strengths(model, None, 16), steps=4, seed=0, report=lambda *_: None)
        vivid[weight] = Colourfulness()(model.teacher.to_pictures(states).clamp(-1, 1)).mean().item()
    assert vivid[0.05] > vivid[0.0]
    assert '"reward"' in (tmp_path / "0.05" / "log.jsonl").read_text()


# ------------------------------------------------------------------------------------------------------ what users say
def test_options_choose_method_and_steps():
    config = configure(PRESETS["tiny"].config, DistillationOptions(method=MethodName.LCM, steps=2, guidance=(1.0, 4.0)))
    assert config.method == LatentConsistency()
    assert (config.steps, config.guidance) == (2, GuidanceRange(low=1.0, high=4.0))
    assert configure(PRESETS["tiny"].config, DistillationOptions()) == PRESETS["tiny"].config
    assert {
        type(configure(PRESETS["tiny"].config, DistillationOptions(method=name)).method) for name in MethodName
    } == {type(method) for method in METHODS}


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="divide"):
        DistillationConfig(steps=5)
    with pytest.raises(ValueError, match="halve"):
        DistillationConfig(method=Progressive(teacher_steps=32), steps=3)
    with pytest.raises(ValueError, match="fall"):
        Multistep(segments=(8, 16))
    with pytest.raises(RequestError, match="no teacher"):
        infer(Distillation(PRESETS["tiny"].config), DistillationRequest(), silent)
    with pytest.raises(RequestError, match="distilled for"):
        infer(made(PRESETS["tiny"].config), DistillationRequest(guidance=3.0), silent)
    with pytest.raises(RequestError, match="one of"):
        infer(made(PRESETS["tiny"].config), DistillationRequest(inputs=("zebra",)), silent)
    for wrong in ({"steps": 9}, {"steps": 0}, {"count": 0}, {"guidance": -1.0}, {"seed": -1}):
        with pytest.raises(RequestError):
            DistillationRequest(**wrong)
    mute = dataclasses.replace(TEACHERS["vp, noise"](), null_cond=None)
    with pytest.raises(RequestError, match="null condition"):
        Distillation(PRESETS["tiny"].config).connect(mute)


def test_evaluation_of_a_fresh_student_equals_its_baseline():
    model = made(DistillationConfig(guidance=GuidanceRange(low=1.0, high=1.0)))
    found = evaluate(model, 0, 4, silent)
    for steps in ("1 step", "2 steps", "4 steps", "8 steps"):
        measure = found[f"RMSE to the teacher, {steps}"]
        assert measure.value == pytest.approx(measure.baseline, rel=1e-4)
        assert measure.control > measure.value
    assert found["calls of the network saved"].value == 50 / 4
