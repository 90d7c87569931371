from __future__ import annotations

import itertools

import pytest
import torch
from transformers import LlamaConfig as PeerConfig
from transformers import LlamaForCausalLM

from bottega.errors import RequestError
from bottega.networks import Llama, LlamaConfig, llama_json, llama_keys
from bottega.processes.decoding import Sampling, beam_search, draw, next_tokens, probabilities, write
from bottega.weights import to_theirs

CONFIG = LlamaConfig(vocabulary=23, context=48, width=32, depth=2, num_heads=4, num_kv_heads=2, hidden=64)
PROMPTS = [[1, 5, 9], [2, 2, 8, 7, 6, 4, 3], [11]]


@pytest.fixture(scope="module")
def model() -> Llama:
    torch.manual_seed(3)
    made = Llama(CONFIG).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return made


def last(steps: object) -> list:
    return list(steps)[-1]  # pyright: ignore


def test_greedy_rows_equal_the_peer_one_by_one(model: Llama) -> None:
    peer = LlamaForCausalLM(PeerConfig(**llama_json(CONFIG))).eval()
    peer.load_state_dict(to_theirs(llama_keys(CONFIG), dict(model.state_dict())))
    made = last(write(model, PROMPTS, most=15))
    for prompt, row in zip(PROMPTS, made, strict=True):
        theirs = peer.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), max_new_tokens=15, do_sample=False,
            eos_token_id=None, pad_token_id=0,
        )  # fmt: skip
        assert row.tokens == theirs[0, len(prompt) :].tolist()
        assert not row.done


def test_a_row_is_the_same_alone_and_in_company(model: Llama) -> None:
    sampling = Sampling(temperature=0.9, top_p=0.9)

    def fresh() -> list[torch.Generator]:
        return [torch.Generator().manual_seed(row) for row in range(3)]

    together = last(write(model, PROMPTS, most=12, sampling=sampling, generators=fresh()))
    for row, prompt in enumerate(PROMPTS):
        alone = last(write(model, [prompt], most=12, sampling=sampling, generators=[fresh()[row]]))
        assert alone[0].tokens == together[row].tokens
        assert alone[0].log_chances == pytest.approx(together[row].log_chances, abs=1e-4)


def test_rows_end_by_their_end_token_by_stop_and_by_length(model: Llama) -> None:
    free = last(write(model, PROMPTS, most=12))
    end = free[0].tokens[4]
    made = last(write(model, PROMPTS, most=12, end=end, stop=lambda row, tokens: row == 1 and len(tokens) == 3))
    first = free[0].tokens.index(end)
    assert made[0].tokens == free[0].tokens[: first + 1]
    assert made[0].done
    assert len(made[1].tokens) <= 3
    assert made[1].done
    assert len(last(write(model, [[1] * 45], most=50))[0].tokens) == CONFIG.context - 45 + 1


@pytest.mark.parametrize("prompt", [[], [1] * 48])
def test_a_prompt_must_fit(model: Llama, prompt: list[int]) -> None:
    with pytest.raises(RequestError):
        last(write(model, [prompt], most=3))


def test_beam_search_with_enough_beams_finds_the_likeliest_text(model: Llama) -> None:
    prompt, most = [4, 9], 2
    every = []
    with torch.no_grad():
        for text in itertools.product(range(CONFIG.vocabulary), repeat=most):
            logits = model(torch.tensor([[*prompt, *text]])).log_softmax(-1)[0]
            every.append((sum(float(logits[len(prompt) - 1 + i, token]) for i, token in enumerate(text)), list(text)))
    best = sorted(every, reverse=True)[:3]
    found = beam_search(model, prompt, beams=CONFIG.vocabulary, most=most, end=None)
    assert [made.tokens for made in found[:3]] == [text for _, text in best]
    assert (
        beam_search(model, prompt, beams=1, most=6, end=None)[0].tokens
        == last(write(model, [prompt], most=6))[0].tokens
    )


def test_the_distribution_is_cut_as_said() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.15, 0.06, 0.04]]))
    assert torch.allclose(probabilities(logits, Sampling(temperature=1))[0], logits.exp()[0])
    assert probabilities(logits, Sampling(temperature=1, top_k=2))[0].tolist() == pytest.approx([2 / 3, 1 / 3, 0, 0, 0])
    top_p = probabilities(logits, Sampling(temperature=1, top_p=0.8))[0]
    assert top_p.tolist() == pytest.approx([0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9, 0, 0])
    assert (probabilities(logits, Sampling(temperature=1, min_p=0.2))[0] > 0).tolist() == [True] * 3 + [False] * 2
    assert probabilities(logits, Sampling())[0].tolist() == [1, 0, 0, 0, 0]
    cold, hot = (probabilities(logits, Sampling(temperature=t))[0, 0] for t in (0.5, 2.0))
    assert cold > 0.5 > hot


def test_held_tokens_become_less_likely() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5], [2.0, -1.0, 0.5]])
    got = probabilities(logits, Sampling(temperature=1, repetition_penalty=2), [[0, 1], []])
    assert torch.allclose(got[0], torch.tensor([1.0, -2.0, 0.5]).softmax(0))
    assert torch.allclose(got[1], logits[1].softmax(0))
    sharp = Sampling(repetition_penalty=5)
    assert next_tokens(logits, sharp, [torch.Generator()] * 2, [[0], [2]]).tolist() == [2, 0]


def test_tokens_are_drawn_by_their_chances() -> None:
    chances = torch.tensor([[0.1, 0.6, 0.3]]).expand(4000, 3)
    counts = draw(chances, [torch.Generator().manual_seed(seed) for seed in range(4000)]).bincount(minlength=3) / 4000
    assert torch.allclose(counts, chances[0], atol=0.03)


@pytest.mark.parametrize(
    "bad", [{"temperature": -1.0}, {"top_p": 0.0}, {"top_k": -1}, {"min_p": 1.0}, {"repetition_penalty": 0.0}]
)
def test_settings_out_of_range_are_named(bad: dict[str, float]) -> None:
    with pytest.raises(RequestError, match=next(iter(bad))):
        Sampling(**bad)  # pyright: ignore
