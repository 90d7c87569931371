from __future__ import annotations

import functools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from bottega.errors import RequestError, WeightsError
from bottega.networks import Llama, LlamaConfig
from bottega.processes.decoding import Acceptance, Corrections, Language, ModelDraft, Task, question, speculate, write
from bottega.results import PicturesResult, WordsResult
from bottega.room import Checkpoint, silent
from bottega.systems.language.speculative.checkpoints import FORMATS
from bottega.systems.language.speculative.config import (
    DIVERGENCES,
    PRESETS,
    TINY,
    Divergences,
    SpeculativeOptions,
    Texts,
    configure,
)
from bottega.systems.language.speculative.evaluation import MixedUp, OtherPrompts, evaluate
from bottega.systems.language.speculative.inference import (
    DraftKind,
    Mode,
    SpeculativeRequest,
    infer,
    questions_task,
    shift,
)
from bottega.systems.language.speculative.model import Speculative
from bottega.systems.language.speculative.recipe import STAGES, DistillRecipe, answers
from bottega.systems.language.speculative.sampling import Drafts, serve, single
from bottega.tokenizers import LanguageTokenizer
from bottega.training import TrainState, optimizer_of
from bottega.worlds.queries import QueriesWorld

QUESTIONS = ("What is 3 + 4?", "How many red lamps are there?", "Go.")


def randomised(model: Llama, seed: int, scale: float = 0.2) -> Llama:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return model.eval()


@functools.cache
def language() -> Language:
    texts = [passage.text for passage in QueriesWorld(length=40).batch(range(40))]
    tokens = LanguageTokenizer.trained(texts, 300)
    config = LlamaConfig(
        vocabulary=tokens.vocabulary, context=320, width=32, depth=2, num_heads=2, num_kv_heads=1, hidden=48
    )
    torch.manual_seed(0)
    return Language(model=randomised(Llama(config), 1), tokens=tokens)


def room(seed: int = 2) -> Speculative:
    draft = LlamaConfig(
        vocabulary=language().tokens.vocabulary, context=320, width=16, depth=1, num_heads=2, num_kv_heads=1,
        hidden=24, tied=True,
    )  # fmt: skip
    made = Speculative(replace(TINY, draft=draft, longest_answer=8))
    randomised(made.draft, seed)
    made.connect({"target": language()})
    return made.eval()


def plain() -> tuple[str, ...]:
    prompts = [question(language(), text) for text in QUESTIONS]
    made = list(write(language().model, prompts, most=20, end=language().tokens.end))[-1]
    return tuple(language().tokens.text([t for t in row.tokens if t != language().tokens.end]) for row in made)


REQUEST = SpeculativeRequest(inputs=QUESTIONS, max_new_tokens=20)


@pytest.mark.parametrize(
    "change",
    [{}, {"draft_length": 3}, {"draft_length": 0}, {"draft": DraftKind.NGRAM}, {"online": True}],
    ids=lambda change: "-".join(change) or "auto",
)
def test_greedy_answers_are_the_targets(change):
    steps = []
    result = infer(room(), replace(REQUEST, **change), steps.append)
    assert isinstance(result, WordsResult)
    assert result.words == plain()
    assert steps
    assert result.settings["tokens per pass"] >= 1
    assert result.traces is not None
    for text in result.traces:
        trace = json.loads(text)
        assert trace["kind"] == "speculative"
        assert [token for each in trace["rounds"] for token in each["written"]] == trace["tokens"]
    rounds = sum(len(json.loads(text)["rounds"]) for text in result.traces)
    assert rounds == result.settings["passes"]


def test_sampled_answers_repeat_and_differ_by_seed():
    request = replace(REQUEST, temperature=1.0, draft_length=2)
    first = infer(room(), request, silent)
    assert infer(room(), request, silent).items() == first.items()
    assert infer(room(), replace(request, seed=1), silent).items() != first.items()


def test_learning_online_leaves_the_room_as_it_is():
    made = room()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    infer(made, replace(REQUEST, online=True), silent)
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


def test_a_stream_that_changes_its_topic_is_drawn():
    result = infer(room(), SpeculativeRequest(mode=Mode.SHIFT, requests=32), silent)
    assert isinstance(result, PicturesResult)
    assert set(result.settings) == {"online, last quarter", "offline, last quarter"}
    rates = shift(room(), 32, 0, silent)
    assert np.array_equal(rates["online"][:2], rates["offline"][:2])
    assert len(rates["online"]) == 4


def test_a_drafts_route_decides_who_learns():
    drafts = {name: room(seed).learner() for seed, name in ((5, "short"), (6, "long"))}
    taught: dict[str, int] = dict.fromkeys(drafts, 0)

    class Counts:
        def __init__(self, name):
            self.name = name

        def served(self, corrections, texts=1):
            taught[self.name] += texts
            assert all(each.tokens for each in corrections)

    several = Drafts(
        models=drafts, route=lambda prompt: "long" if len(prompt) > 8 else "short",
        distillers={name: Counts(name) for name in drafts},
    )  # fmt: skip
    task = REQUEST
    made = room()
    (served,) = serve(language().model, several, [questions_task(made, task.inputs)])
    lengths = [len(question(language(), text)) > 8 for text in QUESTIONS]
    assert taught == {"short": lengths.count(False), "long": lengths.count(True)}
    assert 0 < len(set(lengths))
    assert {each.source for text in served.texts for each in text.rounds if each.drafted} <= set(drafts)


def test_controls_show_other_prompts_and_mix_corrections_up():
    seen = []

    class Spy(ModelDraft):
        def propose(self, held, counts, sampling, generators):
            seen.append([list(row) for row in held])
            return super().propose(held, counts, sampling, generators)

    task = Task(prompts=[[3, 4, 5], [6]], most=6)
    greedy = list(write(language().model, task.prompts, most=6))[-1]
    made = list(speculate(language().model, OtherPrompts(Spy(room().draft)), task))[-1]
    assert [text.tokens for text in made] == [text.tokens for text in greedy]
    assert seen[0] == [[6], [3, 4, 5]]

    class Takes:
        def served(self, corrections, texts=1):
            (self.got,) = corrections

    takes, logits = Takes(), torch.arange(6.0)[:, None]
    MixedUp(takes, 0).served([Corrections(tokens=(1,) * 9, places=(1, 2, 3, 4, 5, 6), logits=logits)])  # pyright: ignore
    assert not torch.equal(takes.got.logits, logits)
    assert torch.equal(takes.got.logits.sort(0).values, logits)


def test_a_draft_learns_from_its_targets_answers():
    made, source = room(), QueriesWorld(length=8)
    recipe = DistillRecipe(made, source)
    settings = replace(STAGES[0].settings, steps=20, batch_size=8, warmup_steps=0, learning_rate=1e-2)
    state = TrainState(
        model=recipe.model, ema=None, optimizers={"main": optimizer_of(recipe.parameter_groups(settings), settings)},
        step=0, generator=torch.Generator(), settings=settings,
    )  # fmt: skip
    batch = recipe.batch(range(8), torch.Generator())
    made.train()
    losses = [float(recipe.step(state, batch)["loss"]) for _ in range(15)]
    assert losses[-1] < 0.8 * losses[0]
    assert all(parameter.grad is not None for parameter in made.draft.parameters())
    assert all(parameter.grad is None for parameter in made.network.parameters())


def test_texts_are_the_targets_where_the_source_has_none():
    made, source = room(), QueriesWorld(length=8)
    known = DistillRecipe(made, source).batch(range(4), torch.Generator())
    assert all(half.rest for half in known)
    made.config = replace(made.config, texts=Texts.TARGET)
    halves = DistillRecipe(made, source).batch(range(4), torch.Generator())
    assert [half.prompt for half in halves] == [half.prompt for half in known]
    own = list(write(language().model, [half.prompt for half in halves], most=8, end=language().tokens.end))[-1]
    texts = answers(language().model, halves, language().tokens.end, 8)
    assert texts == [[*half.prompt, *row.tokens] for half, row in zip(halves, own, strict=True)]


def test_evaluation_has_baselines_and_controls():
    found = evaluate(room(), 0, 32, silent)
    assert found["tokens a pass"].value >= 1
    assert found["tokens a pass"].control is not None
    assert found["right answers"].value == 0
    assert 0 <= found["acceptance"].value <= 1
    assert len(found) == 6


def test_training_may_be_told_what_to_learn():
    told = configure(TINY, SpeculativeOptions(divergence=Divergences.REVERSE))
    assert (told.divergence, told.texts) == (Divergences.REVERSE, TINY.texts)
    made = room()
    made.config = replace(made.config, divergence=Divergences.JENSEN_SHANNON)
    assert DistillRecipe(made, QueriesWorld(length=8)).divergence == DIVERGENCES[Divergences.JENSEN_SHANNON]


def test_published_drafts_open_in_transformers(tmp_path):
    made = room()
    FORMATS["hf"].write(Checkpoint(config=made.config, tensors=made.state_dict()), tmp_path / "draft")
    peer = LlamaForCausalLM.from_pretrained(tmp_path / "draft").eval()
    tokens = torch.tensor([[1, 2, 3, 4]])
    with torch.no_grad():
        assert torch.allclose(peer(tokens).logits, made(tokens), atol=1e-4)
    read = FORMATS["hf"].read(tmp_path / "draft", made.config)
    assert read.config == made.config
    assert all(torch.equal(read.tensors[name], value) for name, value in made.state_dict().items())


def test_sizes():
    for preset in PRESETS.values():
        with torch.device("meta"):
            assert sum(p.numel() for p in Speculative(preset.config).parameters()) == preset.parameters
    assert 0 < room().cost < 1


def test_what_cannot_be_done_is_refused():
    with pytest.raises(RequestError, match="question"):
        SpeculativeRequest()
    with pytest.raises(RequestError, match="online"):
        replace(REQUEST, online=True, draft=DraftKind.NGRAM)
    with pytest.raises(RequestError, match="requests"):
        SpeculativeRequest(mode=Mode.SHIFT, requests=17)
    with pytest.raises(RequestError, match="draft_length"):
        replace(REQUEST, draft_length=65)
    with pytest.raises(RequestError, match="top_p"):
        infer(room(), replace(REQUEST, top_p=0.0), silent)
    with pytest.raises(RequestError, match="context"):
        infer(room(), replace(REQUEST, inputs=("word " * 400,)), silent)
    with pytest.raises(WeightsError, match="connected"):
        _ = Speculative(TINY).target
    with pytest.raises(RequestError, match="token ids"):
        Speculative(TINY).connect({"target": language()})
    assert Acceptance().rate == 0.5
    assert single(room().learner()).distillers == {}
