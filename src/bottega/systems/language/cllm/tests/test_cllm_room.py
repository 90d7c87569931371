from __future__ import annotations

import functools
import json
from dataclasses import replace

import pytest
import torch
from transformers import LlamaForCausalLM

from bottega.data import TextFolder
from bottega.errors import RequestError, WeightsError
from bottega.networks import Llama, LlamaConfig
from bottega.processes.decoding import Language, Task, Window, finished, jacobi, question, write
from bottega.room import Checkpoint, silent
from bottega.systems.language.cllm.checkpoints import FORMATS
from bottega.systems.language.cllm.config import (
    PRESETS,
    TINY,
    CllmConfig,
    CllmOptions,
    Collected,
    Consistency,
    Solutions,
    configure,
)
from bottega.systems.language.cllm.evaluation import evaluate, shuffled
from bottega.systems.language.cllm.inference import Blocks, CllmRequest, FirstGuess, Writer, infer
from bottega.systems.language.cllm.model import Cllm
from bottega.systems.language.cllm.objective import autoregressive_loss, consistency_loss
from bottega.systems.language.cllm.recipe import STAGES, Answer, CllmRecipe, cllm_losses, unrepeated, walked
from bottega.tokenizers import LanguageTokenizer
from bottega.training import TrainState, optimizer_of
from bottega.worlds.queries import QueriesWorld

QUESTIONS = ("What is 3 + 4?", "How many red lamps are there?")


@functools.cache
def language() -> Language:
    texts = [passage.text for passage in QueriesWorld(length=40).batch(range(40))]
    tokens = LanguageTokenizer.trained(texts, 300)
    config = LlamaConfig(
        vocabulary=tokens.vocabulary, context=320, width=32, depth=2, num_heads=2, num_kv_heads=1, hidden=48
    )
    torch.manual_seed(0)
    model, generator = Llama(config), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return Language(model=model.eval(), tokens=tokens)


def room(**changes) -> Cllm:
    config = replace(TINY, network=language().model.config, longest_answer=24, block=6, **changes)  # pyright: ignore
    made = Cllm(config)
    made.connect({"target": language()})
    return made.eval()


def test_it_starts_as_its_target():
    made = room()
    pairs = zip(made.student.parameters(), language().model.parameters(), strict=True)  # pyright: ignore
    assert all(torch.equal(a, b) and a is not b for a, b in pairs)
    assert made.language.tokens is language().tokens


REQUEST = CllmRequest(inputs=QUESTIONS, max_new_tokens=20)


@pytest.mark.parametrize(
    "change",
    [{}, {"blocks": Blocks.WHOLE}, {"guess": FirstGuess.NGRAM}, {"writer": Writer.TARGET}, {"window": 3}],
    ids=lambda change: "-".join(change) or "plain",
)
def test_answers_are_the_models_own(change):
    made, steps = room(), []
    with torch.no_grad():
        made.student.norm.weight.mul_(0.9).add_(0.1 * torch.arange(32.0) / 32)  # no longer its target
    source = language() if "writer" in change else made.language
    plain = finished(write(source.model, [question(source, q) for q in QUESTIONS], most=20, end=source.tokens.end))
    result = infer(made, replace(REQUEST, **change), steps.append)
    assert result.words == tuple(source.tokens.text(row.tokens) for row in plain)
    assert steps
    assert result.traces is not None
    traces = [json.loads(text) for text in result.traces]
    assert sum(len(trace["iterations"]) for trace in traces) == result.settings["passes"]
    assert result.settings["fast-forwarded"] == result.settings["tokens"] - result.settings["passes"]
    assert result.settings["tokens per pass"] >= 1


def test_one_answer_is_shown_while_it_is_written():
    steps = []
    result = infer(room(), replace(REQUEST, inputs=QUESTIONS[:1]), steps.append)
    assert result.words[0].startswith("".join(step.text for step in steps))
    assert len([step for step in steps if step.text]) > 1


def test_sampling_repeats_and_does_not_depend_on_the_window():
    request = replace(REQUEST, temperature=1.0)
    first = infer(room(), request, silent)
    assert infer(room(), replace(request, window=2), silent).words == first.words
    assert infer(room(), replace(request, seed=3), silent).words != first.words


def test_losses_are_zero_where_nothing_is_to_be_learned():
    logits = torch.randn(2, 3, 7)
    counts = torch.tensor([[1.0, 1, 0], [0, 0, 0]])
    assert consistency_loss(logits, logits, counts) == pytest.approx(0, abs=1e-6)
    assert consistency_loss(logits, logits.flip(2), counts) > 0
    certain = torch.full((1, 2, 4), -50.0)
    certain[0, 0, 1] = certain[0, 1, 3] = 50.0
    assert autoregressive_loss(certain, torch.tensor([[1, 0]]), torch.tensor([[1.0, 0]])) == pytest.approx(0, abs=1e-6)
    assert autoregressive_loss(certain, torch.tensor([[1, 3]]), torch.ones(1, 2), smoothing=0.5) > 1


def test_lessons_hold_states_of_jacobi_decoding():
    made = room(collected=Collected.TARGET)
    recipe = CllmRecipe(made, QueriesWorld(length=4))
    batch = recipe.batch(range(2), torch.Generator())
    assert all(each.tokens for each in batch)
    lesson = recipe.lesson(batch, 0)
    texts = [[*each.prompt, *each.tokens] for each in batch]
    assert lesson.labels[0, : len(batch[0].tokens)].tolist() == batch[0].tokens
    assert lesson.counts.sum(1).tolist() == [len(each.tokens) for each in batch]
    for row, text in enumerate(texts):
        assert lesson.packed.tokens[row, : len(text)].tolist() == text
    starts = lesson.packed.starts[0]
    assert starts[0] == len(batch[0].prompt)
    # the solution is a fixed point, whatever the way to it
    own = finished(write(language().model, [batch[0].prompt], most=18))[0].tokens
    answer = Answer(prompt=batch[0].prompt, tokens=own)
    packed = recipe.lesson([answer], 3).packed
    solved = walked(language().model, packed, 6).tokens[0, packed.length :]
    right = packed.tokens[0].gather(0, packed.sources()[0])
    counts = packed.guessed.flatten() > 0
    assert torch.equal(solved[counts], right[counts])


def test_answers_are_the_targets_where_the_configuration_says_so():
    recipe = CllmRecipe(room(solutions=Solutions.TARGET), QueriesWorld(length=4))
    batch = recipe.batch([0], torch.Generator())
    assert batch[0].tokens == []
    lesson = recipe.lesson(batch, 0)
    own = finished(write(language().model, [batch[0].prompt], most=24, end=language().tokens.end))[0].tokens
    assert lesson.labels[0, : int(lesson.counts.sum())].tolist() == unrepeated(own)
    assert unrepeated([5, 5, 3, *[4] * 30]) == [5, 5, 3, 4]
    assert unrepeated([1, 2, 1, 2] * 9) == [1, 2, 1, 2] * 9


@pytest.mark.parametrize("consistency", Consistency)
def test_only_the_student_learns(consistency):
    made = room(consistency=consistency)
    recipe = CllmRecipe(made, QueriesWorld(length=4))
    lesson = recipe.lesson(recipe.batch(range(3), torch.Generator()), 1)
    losses = cllm_losses(made.student, lesson, 2.0, 0.0, consistency)
    loss, agree, own = (float(losses[name].detach()) for name in ("loss", "consistency", "autoregressive"))
    assert loss == pytest.approx(agree + 2 * own, rel=1e-5)
    losses["loss"].backward()
    assert all(parameter.grad is not None for parameter in made.student.parameters())
    assert all(parameter.grad is None for parameter in language().model.parameters())  # pyright: ignore


def test_tuning_saves_passes():
    made = room(passes=1)
    recipe = CllmRecipe(made, QueriesWorld(length=2))
    settings = replace(STAGES[0].settings, steps=64, warmup_steps=0, learning_rate=2e-2, batch_size=2)
    state = TrainState(
        model=recipe.model, ema=None, optimizers={"main": optimizer_of(recipe.parameter_groups(settings), settings)},
        step=0, generator=torch.Generator(), settings=settings,
    )  # fmt: skip
    # an answer that two noisy guesses in front cannot hide: each token stands at a place of its own
    batch = [Answer(prompt=[7, 9], tokens=list(range(20, 38)))] * 2
    task = Task(prompts=[each.prompt for each in batch], most=18)

    def passes() -> float:
        made_texts = finished(jacobi(made.student, task, Window(size=6, rolling=True)))
        return sum(len(text.iterations) for text in made_texts) / sum(len(text.tokens) for text in made_texts)

    before, losses = passes(), []
    for step in range(64):
        state.step = step
        losses.append(float(recipe.step(state, batch)["loss"]))
    assert losses[-1] < 0.5 * losses[0]
    assert passes() < 0.8 * before


def test_evaluation_has_baselines_and_controls():
    found = evaluate(room(), 0, 2, silent)
    assert found["sql: tokens a pass (baseline: plain Jacobi)"].value >= 1
    assert found["sums: right answers"].value == found["sums: right answers"].baseline
    assert len(found) == 14
    assert sorted(shuffled(["a b c d"], 0)[0].split()) == ["a", "b", "c", "d"]


def test_texts_of_a_folder_have_prompts_too(tmp_path):
    (tmp_path / "a.txt").write_text("some words that ask nothing at all, but go on for a while\n")
    recipe = CllmRecipe(room(), TextFolder(tmp_path))
    (answer,) = recipe.batch([0], torch.Generator())
    assert answer.prompt
    assert answer.tokens


def test_tuning_may_be_told_how():
    told = configure(TINY, CllmOptions(ar_weight=0.0, consistency=Consistency.LOCAL))
    assert told == replace(TINY, ar_weight=0.0, consistency=Consistency.LOCAL)
    assert configure(TINY, CllmOptions()) == TINY


def test_published_weights_open_in_transformers(tmp_path):
    made = room()
    FORMATS["hf"].write(Checkpoint(config=made.config, tensors=made.state_dict()), tmp_path / "tuned")
    peer, tokens = LlamaForCausalLM.from_pretrained(tmp_path / "tuned").eval(), torch.tensor([[1, 2, 3, 4]])
    with torch.no_grad():
        assert torch.allclose(peer(tokens).logits, made(tokens), atol=1e-4)
    assert FORMATS["hf"].read(tmp_path / "tuned", made.config).config == made.config


def test_sizes():
    for preset in PRESETS.values():
        with torch.device("meta"):
            assert sum(p.numel() for p in Cllm(preset.config).parameters()) == preset.parameters


def test_what_cannot_be_done_is_refused():
    for bad in ({"inputs": ()}, {"window": 0}, {"max_new_tokens": 0}, {"seed": -1}):
        with pytest.raises(RequestError):
            replace(REQUEST, **bad)
    with pytest.raises(WeightsError, match="connected"):
        _ = Cllm(TINY).target
    with pytest.raises(RequestError, match="target"):
        Cllm(TINY).connect({"target": language()})
    for bad in ({"block": 1}, {"passes": 6}, {"smoothing": 1.0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            CllmConfig(network=language().model.config, **{"block": 6, "passes": 3, **bad})  # pyright: ignore
