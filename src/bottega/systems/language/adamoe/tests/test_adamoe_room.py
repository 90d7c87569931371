"""AdaMoE's room: what it writes and counts, what its recipe trains, its figures, and its layout in transformers."""

from __future__ import annotations

import dataclasses
import functools

import pytest
import torch
from transformers import MixtralForCausalLM

from bottega.errors import RequestError, WeightsError
from bottega.layers import watched
from bottega.networks import ChosenDepths, ChosenTokens, Dense, Experts, LlamaConfig, MixtralConfig, Routing
from bottega.room import Checkpoint, silent
from bottega.systems.language.adamoe.checkpoints import read_hf, write_hf
from bottega.systems.language.adamoe.config import PRESETS, AdaMoeOptions, configure
from bottega.systems.language.adamoe.evaluation import evaluate, nats
from bottega.systems.language.adamoe.inference import AdaMoeRequest, Show, experts_per_token, infer
from bottega.systems.language.adamoe.model import AdaMoe
from bottega.systems.language.adamoe.objective import adamoe_loss
from bottega.systems.language.adamoe.recipe import STAGES, AdaMoeRecipe, queries
from bottega.tokenizers import TOKENIZER, LanguageTokenizer
from bottega.training import fit

DECODER = LlamaConfig(vocabulary=320, context=48, width=32, depth=2, num_heads=2, num_kv_heads=1, hidden=24, tied=True)
NULLS = Experts(experts=4, choices=3, nulls=4)


@functools.cache
def tokenizer() -> LanguageTokenizer:
    source = queries()
    return LanguageTokenizer.trained([source.sample(index).text for index in range(60)], DECODER.vocabulary)


def room(routing: Routing = NULLS, seed: int = 0) -> AdaMoe:
    torch.manual_seed(seed)
    model = AdaMoe(MixtralConfig(decoder=DECODER, routing=routing)).eval()
    model.tokenizer = tokenizer()
    return model


def windows(model: AdaMoe, count: int = 2) -> torch.Tensor:
    return AdaMoeRecipe(model, queries()).batch(range(count), torch.Generator())


# ------------------------------------------------------------------------------------------------------------- writing
def test_words_come_with_the_experts_that_worked_on_them() -> None:
    model, steps = room(), []
    result = infer(model, AdaMoeRequest(inputs=("What is 3?", "SELECT"), max_new_tokens=5), steps.append)
    assert len(result.words) == 2
    assert len(steps) == 5
    count = result.settings["experts_per_token"]
    assert 0 < count < 3
    assert result.settings["multiplications_per_token"] > 0


def test_every_token_can_be_shown_with_its_experts() -> None:
    model = room()
    shown = infer(model, AdaMoeRequest(inputs=("a b",), show=Show.EXPERTS, max_new_tokens=3), silent).words[0]
    counts = experts_per_token(model, tokenizer().ids("a b", start=True))
    assert shown.startswith(f'"a":{counts[1]:.2g} ')
    with watched(model) as found, torch.no_grad():
        model(torch.tensor([tokenizer().ids("a b", start=True)]))
    assert counts[1] == (found[0].real[1] + found[1].real[1]) / 2


def test_a_dense_model_writes_and_counts_nothing() -> None:
    result = infer(room(Dense()), AdaMoeRequest(inputs=("x",), max_new_tokens=2), silent)
    assert "experts_per_token" not in result.settings


@pytest.mark.parametrize("routing", [ChosenTokens(experts=4), ChosenDepths()])
def test_routings_that_look_ahead_refuse_to_write(routing: Routing) -> None:
    with pytest.raises(RequestError, match="cannot write"):
        infer(room(routing), AdaMoeRequest(inputs=("x",)), silent)


@pytest.mark.parametrize(
    ("field", "value"),
    [("inputs", ("x",) * 33), ("max_new_tokens", 0), ("seed", -1), ("temperature", -1.0), ("top_p", 0.0)],
)
def test_wrong_requests_are_refused(field: str, value: object) -> None:
    with pytest.raises(RequestError):
        dataclasses.replace(AdaMoeRequest(), **{field: value})


# ------------------------------------------------------------------------------------------------------------ training
@pytest.mark.parametrize("routing", [NULLS, Dense(), ChosenTokens(experts=4), ChosenDepths(capacity=0.5)])
def test_one_batch_is_learned_and_every_parameter_moves(routing: Routing, tmp_path) -> None:
    model = room(routing)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    recipe = AdaMoeRecipe(model, dataclasses.replace(queries(), length=2))
    with torch.no_grad():
        first = adamoe_loss(model.decoder, windows(model), 0.01)
    settings = dataclasses.replace(
        STAGES[0].settings,
        steps=25,
        batch_size=2,
        warmup_steps=2,
        learning_rate=2e-2,
        workers=0,
    )
    fit(recipe, settings, tmp_path)
    with torch.no_grad():
        assert adamoe_loss(model.decoder, windows(model), 0.01)["nats"] < 0.6 * first["nats"]
    assert all(not torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_balance_spreads_tokens_over_experts_and_nulls(tmp_path) -> None:
    model = room()
    with torch.no_grad():
        for block in model.decoder.blocks:
            block.mlp.gate.weight.add_(model.decoder.token_embed.weight.std())  # a bias for the experts
    data = torch.randint(3, 300, (4, DECODER.context + 1), generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam([p for n, p in model.named_parameters() if "gate.weight" in n], lr=0.1)
    counts = []
    for _ in range(40):
        figures = adamoe_loss(model.decoder, data, 1.0)
        counts.append(float(figures["experts"].detach()))
        optimizer.zero_grad()
        figures["balance"].backward()
        optimizer.step()
    assert float(figures["balance"].detach()) == pytest.approx(3.0, abs=0.35)  # the number of choices: even
    assert counts[-1] == pytest.approx(1.5, abs=0.3)  # half of the slots are experts


def test_windows_are_passages_between_start_and_end() -> None:
    model = room()
    row = windows(model, 1)[0].tolist()
    text = queries().sample(0).text
    ids = tokenizer().ids(text, start=True, end=True)
    assert row[: len(ids)] == ids[: len(row)]
    assert len(row) == DECODER.context + 1


# ------------------------------------------------------------------------------------------------------------- figures
def test_figures_have_baselines_and_controls() -> None:
    steps = []
    found = evaluate(room(), 0, 5, steps.append)
    perplexities = [value for name, value in found.items() if name.startswith("perplexity")]
    assert len(perplexities) == 6
    assert all(each.baseline is not None and each.control is not None for each in perplexities)
    assert 0 < found["experts a token"].value < 3
    assert found["the past stays, this model"].value == 1
    assert found["the past stays, experts that choose tokens"].value == 0
    assert found["the past stays, layers that choose tokens"].value == 0
    assert len(steps) == 6


def test_nats_of_even_logits_are_those_of_chance() -> None:
    model = room()
    with torch.no_grad():
        model.decoder.token_embed.weight.zero_()
        assert nats(model, windows(model)) == pytest.approx(torch.tensor(float(DECODER.vocabulary)).log().item())


# ------------------------------------------------------------------------------------------------------------- layouts
def test_transformers_opens_what_is_written(tmp_path) -> None:
    model = room(Experts(experts=4, choices=2))
    checkpoint = Checkpoint(config=model.config, tensors=model.state_dict(), assets={TOKENIZER: tokenizer().to_json()})
    write_hf(checkpoint, tmp_path)
    peer = MixtralForCausalLM.from_pretrained(tmp_path).eval()
    tokens = windows(model)[:, :-1]
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), peer(tokens).logits, atol=1e-5, rtol=1e-4)
    again = read_hf(tmp_path, None)
    assert again.config == model.config
    assert TOKENIZER in again.assets
    with pytest.raises(WeightsError, match="leave out --preset"):
        read_hf(tmp_path, PRESETS["tiny"].config)


def test_options_change_the_experts_only() -> None:
    changed = configure(PRESETS["tiny"].config, AdaMoeOptions(nulls=2, choices=4))
    assert changed.routing == Experts(experts=8, choices=4, nulls=2)
    assert configure(PRESETS["tiny-dense"].config, AdaMoeOptions()) == PRESETS["tiny-dense"].config
    with pytest.raises(RequestError, match="leave out nulls"):
        configure(PRESETS["tiny-dense"].config, AdaMoeOptions(nulls=1))
