import dataclasses
import json
import math
from collections import Counter

import pytest
import torch

from bottega.errors import FileError, RequestError
from bottega.networks import LlamaConfig
from bottega.room import silent
from bottega.systems.language.llama.config import PRESETS
from bottega.systems.language.llama.evaluation import answers, as_read, counted, evaluate, perplexities
from bottega.systems.language.llama.model import LlamaPipeline
from bottega.systems.language.llama.objective import next_token_loss
from bottega.systems.language.llama.recipe import (
    PUBLISHED_SHARES,
    STAGES,
    Mixture,
    llama_recipe,
    packed,
    published_settings,
    queries_mixture,
    texts_at,
)
from bottega.tokenizers import LanguageTokenizer
from bottega.training import Cosine, FitSettings, fit, rate_factor
from bottega.worlds.queries import QueriesWorld, Topic

SMALL = LlamaConfig(vocabulary=400, context=48, width=32, depth=2, num_heads=4, num_kv_heads=2, hidden=48)
SHORT = FitSettings(steps=4, batch_size=2, learning_rate=1e-2, log_every=1)


@dataclasses.dataclass(frozen=True)
class Same:
    text: str

    def __len__(self):
        return 1000

    def sample(self, index):
        return self


@pytest.fixture(scope="module")
def tokenizer():
    return LanguageTokenizer.trained((passage.text for passage in QueriesWorld().batch(range(60))), 400)


def pipeline(tokenizer, config=SMALL):
    torch.manual_seed(0)
    made = LlamaPipeline(config)
    made.use(tokenizer)
    return made


def test_sources_come_as_often_as_published():
    mixture = Mixture(tuple(Same(name) for name in PUBLISHED_SHARES), tuple(PUBLISHED_SHARES.values()))
    assert sum(PUBLISHED_SHARES.values()) == 100
    count = 20_000
    seen = Counter(mixture.sample(index).text for index in range(count))
    expected = {name: count * share / 100 for name, share in PUBLISHED_SHARES.items()}
    chi_square = sum((seen[name] - mean) ** 2 / mean for name, mean in expected.items())
    assert chi_square < 22.46  # 6 degrees of freedom, one in a thousand
    wrong = dict(zip(expected, sorted(expected.values()), strict=True))
    assert sum((seen[name] - mean) ** 2 / mean for name, mean in wrong.items()) > 1000
    places = Counter(mixture.place(index)[1] // 100 for index in range(count))
    assert max(places.values()) < 1.2 * min(places.values())


def test_mixtures_are_checked():
    with pytest.raises(RequestError, match="shares"):
        Mixture((Same("a"),), (1.0, 2.0))
    with pytest.raises(RequestError, match="not all 0"):
        Mixture((Same("a"),), (0.0,))


def test_windows_are_packed_without_gaps(tokenizer):
    source = QueriesWorld(topics=(Topic.FACTS,))
    window = packed(source, tokenizer, 3, 400)
    assert len(window) == 400
    assert window == packed(source, tokenizer, 3, 400)
    assert window != packed(source, tokenizer, 4, 400)
    ends = [place for place, token in enumerate(window) if token == tokenizer.end]
    assert len(ends) > 3
    for first, last in zip([-1, *ends], ends, strict=False):
        assert window[first + 1] == tokenizer.start
        text = tokenizer.text(window[first + 1 : last])
        assert text.startswith(("What", "How", "Which", "Say"))


def test_the_loss_is_that_of_the_formula():
    logits = torch.tensor([[[0.0, math.log(3.0)], [math.log(4.0), 0.0]]])
    loss = next_token_loss(logits, torch.tensor([[1, 1]]))
    assert loss.item() == pytest.approx(-(math.log(3 / 4) + math.log(1 / 5)) / 2)


def test_every_parameter_learns_and_one_window_is_remembered(tokenizer, tmp_path):
    made = pipeline(tokenizer)
    recipe = llama_recipe(made, Same("the same sentence over and over again, without any change at all"))
    next_token_loss(made(torch.arange(20).view(1, 20)), torch.arange(1, 21).view(1, 20)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in made.parameters())
    fit(recipe, dataclasses.replace(SHORT, steps=60), tmp_path)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().splitlines() if "loss" in line]
    assert losses[0] > 5
    assert losses[-1] < 0.3


def test_a_run_goes_on_bit_for_bit(tokenizer, tmp_path):
    whole, halves = pipeline(tokenizer), pipeline(tokenizer)
    fit(llama_recipe(whole, queries_mixture()), SHORT, tmp_path / "whole")
    recipe = llama_recipe(halves, queries_mixture())

    def stop(progress):
        if progress.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(recipe, dataclasses.replace(SHORT, save_every=1), tmp_path / "half", report=stop)
    fit(recipe, dataclasses.replace(SHORT, save_every=1), tmp_path / "half")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), halves.parameters(), strict=True))


def test_a_model_without_tokenizer_gets_one_from_its_texts():
    made = LlamaPipeline(SMALL)
    recipe = llama_recipe(made, queries_mixture(), window=20)
    assert 300 < made.tokens().vocabulary <= 400
    assert recipe.batch([0, 1, 2], torch.Generator()).shape == (3, 21)
    assert llama_recipe(made, queries_mixture(), window=9999).window == SMALL.context


def test_optimisation_is_as_published():
    settings = published_settings(PRESETS["7b"].config, 3e-4, 250_000)
    assert settings.batch_size * PRESETS["7b"].config.context == 2**22
    assert (settings.betas, settings.weight_decay, settings.clip_norm) == ((0.9, 0.95), 0.1, 1.0)
    rates = [rate_factor(settings.schedule, step, settings.steps, settings.warmup_steps) for step in (0, 1999, 249_999)]
    assert rates == pytest.approx([1 / 2000, 1.0, 0.1])
    assert isinstance(settings.schedule, Cosine)


def test_the_head_is_no_matrix_for_muon(tokenizer):
    made = pipeline(tokenizer)
    groups = llama_recipe(made, queries_mixture()).parameter_groups(STAGES[0].settings)
    muon = {id(p) for group in groups if group.get("muon") for p in group["params"]}
    counted = [id(p) for group in groups for p in group["params"]]
    assert len(counted) == len(set(counted)) == len(list(made.parameters()))
    assert id(made.decoder.head.weight) not in muon
    assert id(made.decoder.token_embed.weight) not in muon
    assert id(made.decoder.blocks[0].mlp.down.weight) in muon


def test_own_texts_are_one_source_or_several(tmp_path):
    for name, word in (("web", "webword"), ("books", "bookword")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(f"{word} " * 20)
    assert len(texts_at(tmp_path)) == 2
    (tmp_path / "mixture.json").write_text('{"web": 9, "books": 1}')
    source = texts_at(tmp_path)
    share = sum("webword" in source.sample(index).text for index in range(1000)) / 1000
    assert 0.86 < share < 0.94
    (tmp_path / "mixture.json").write_text('{"../web": 9}')
    with pytest.raises(RequestError, match="share of a subfolder"):
        texts_at(tmp_path)
    (tmp_path / "mixture.json").write_text('{"none": 1}')
    with pytest.raises(FileError, match="does not exist"):
        texts_at(tmp_path)


def test_evaluation_measures_what_counts(tokenizer):
    made = pipeline(tokenizer, dataclasses.replace(SMALL, context=400))
    found = evaluate(made, 0, 7, silent)
    assert {f"perplexity, {topic.value}" for topic in Topic} <= set(found)
    assert {f"right answers, {topic.value}" for topic in Topic} - set(found) == {"right answers, docs"}
    sums = found["perplexity, sums"]
    assert sums.value == pytest.approx(400, rel=0.3)  # an untrained model knows nothing
    assert sums.baseline < 100
    assert not sums.higher_is_better
    assert found["right answers, sql"].value == 0


def test_perplexity_is_of_the_answer_alone(tokenizer):
    made = pipeline(tokenizer, dataclasses.replace(SMALL, context=200)).requires_grad_(False)
    passages = QueriesWorld(topics=(Topic.FACTS,)).batch(range(5))
    read = [as_read(tokenizer, passage, 200) for passage in passages]
    assert [tokenizer.text(text.ids[text.begins :]) for text in read] == [p.answer for p in passages]
    measure = perplexities(made, counted(tokenizer, 20, 0), passages)
    total = 0.0
    for text in read:
        logits = made(torch.tensor([text.ids])).log_softmax(-1)[0]
        total -= sum(float(logits[place - 1, text.ids[place]]) for place in range(text.begins, len(text.ids)))
    tokens = sum(len(text.ids) - text.begins for text in read)
    assert measure.samples == tokens
    assert measure.value == pytest.approx(math.exp(total / tokens), rel=1e-4)
    assert len(answers(made, passages)) == 5
