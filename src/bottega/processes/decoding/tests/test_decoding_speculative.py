from __future__ import annotations

import itertools

import pytest
import torch
from transformers import LlamaConfig as PeerConfig
from transformers import LlamaForCausalLM

from bottega.errors import RequestError
from bottega.networks import Llama, LlamaConfig, llama_json, llama_keys
from bottega.processes.decoding import (
    Acceptance,
    BestLength,
    FixedLength,
    ModelDraft,
    NgramDraft,
    Proposal,
    RoutedDraft,
    Sampling,
    Task,
    best_length,
    expected_tokens,
    judge,
    probabilities,
    speculate,
    speedup,
    what_followed,
    write,
)
from bottega.weights import to_theirs

PROMPTS = [[1, 5, 9], [2, 2, 8, 7, 6, 4, 3], [11], [4, 4, 4, 4]]


def random_llama(seed: int, vocabulary: int = 13, width: int = 16, depth: int = 2) -> Llama:
    config = LlamaConfig(
        vocabulary=vocabulary, context=48, width=width, depth=depth, num_heads=2, num_kv_heads=1, hidden=2 * width
    )
    generator = torch.Generator().manual_seed(seed)
    made = Llama(config).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return made


def like(model: Llama, noise: float, seed: int = 5) -> Llama:
    """A model whose parameters are near another's: a draft that is often right."""
    generator = torch.Generator().manual_seed(seed)
    made = Llama(model.config).eval()
    with torch.no_grad():
        for parameter, other in zip(made.parameters(), model.parameters(), strict=True):
            parameter.copy_(other + noise * torch.randn(other.shape, generator=generator))
    return made


def last(steps):
    return list(steps)[-1]


MODEL = random_llama(3)
DRAFTS = {
    "poor": lambda: ModelDraft(random_llama(4, width=8, depth=1)),
    "good": lambda: ModelDraft(like(MODEL, 0.08)),
    "itself": lambda: ModelDraft(MODEL),
    "n-gram": NgramDraft,
    "routed": lambda: RoutedDraft(
        {"odd": NgramDraft(), "even": ModelDraft(like(MODEL, 0.08))}, lambda prompt: ("even", "odd")[len(prompt) % 2]
    ),
}


@pytest.mark.parametrize("length", [0, 1, 5])
@pytest.mark.parametrize("name", DRAFTS)
def test_greedy_text_is_the_models_own_token_for_token(name, length):
    plain = last(write(MODEL, PROMPTS, most=30, end=7))
    made = last(speculate(MODEL, DRAFTS[name](), Task(prompts=PROMPTS, most=30, end=7), length=FixedLength(length)))
    assert [row.tokens for row in made] == [row.tokens for row in plain]
    assert [row.done for row in made] == [row.done for row in plain]


def test_rounds_say_how_a_text_was_written():
    made = last(speculate(MODEL, DRAFTS["good"](), Task(prompts=PROMPTS, most=30, end=7), length=FixedLength(4)))
    for row in made:
        assert [token for each in row.rounds for token in each.written] == row.tokens
        for each in row.rounds[:-1]:
            assert each.written[:-1] == each.drafted[: each.accepted]
            assert len(each.written) == each.accepted + 1
        assert len(row.rounds) < len(row.tokens), "nothing was accepted, so this tests nothing"
    itself = last(speculate(MODEL, DRAFTS["itself"](), Task(prompts=PROMPTS, most=30), length=FixedLength(5)))
    assert [len(row.rounds) for row in itself] == [5] * 4  # six tokens a pass


SAMPLINGS = {
    "temperature": Sampling(temperature=0.7),
    "top_k": Sampling(temperature=1.3, top_k=3),
    "top_p": Sampling(temperature=1.0, top_p=0.7),
    "min_p": Sampling(temperature=1.5, min_p=0.3),
    "repetition": Sampling(temperature=1.0, repetition_penalty=1.8),
    "all": Sampling(temperature=1.2, top_k=4, top_p=0.9, min_p=0.05, repetition_penalty=1.2),
}
SMALL = random_llama(8, vocabulary=5)
ROWS, PROMPT = 1000, [1, 3]


def exact(sampling: Sampling, depth: int = 3) -> torch.Tensor:
    """The joint distribution of the next `depth` tokens, by all of them."""
    joint = torch.ones(1)
    for size in range(depth):
        texts = [[*PROMPT, *text] for text in itertools.product(range(5), repeat=size)]
        with torch.no_grad():
            chances = probabilities(SMALL(torch.tensor(texts))[:, -1], sampling, texts)
        joint = (joint[:, None] * chances).flatten()
    return joint


@pytest.mark.parametrize("draft", ["model", "n-gram"])
@pytest.mark.parametrize("name", SAMPLINGS)
def test_texts_are_distributed_as_the_models_own(name, draft):
    sampling = SAMPLINGS[name]
    drafts = {"model": ModelDraft(random_llama(9, vocabulary=5, width=8, depth=1)), "n-gram": NgramDraft()}
    generators = [torch.Generator().manual_seed(1000 + row) for row in range(ROWS)]
    task = Task(prompts=[PROMPT] * ROWS, most=3, sampling=sampling, generators=generators)
    acceptance = Acceptance()
    made = last(speculate(SMALL, drafts[draft], task, length=FixedLength(2), acceptance=acceptance))
    if draft == "model":
        assert 0.1 < acceptance.rate < 0.95, "all or nothing was accepted, so this tests nothing"
    numbers = torch.tensor([row.tokens for row in made]) @ torch.tensor([25, 5, 1])
    counts, expected = numbers.bincount(minlength=125).double(), exact(sampling).double() * ROWS
    assert counts[expected == 0].sum() == 0
    large = expected >= 5
    counts = torch.cat([counts[large], counts[~large].sum()[None]])
    expected = torch.cat([expected[large], expected[~large].sum()[None]])
    kept = expected > 0
    chi_square = ((counts - expected)[kept] ** 2 / expected[kept]).sum()
    freedom = int(kept.sum()) - 1
    assert chi_square < freedom + 4.5 * (2 * freedom) ** 0.5
    likely = (expected / ROWS * (1 - expected / ROWS) * 2 / (torch.pi * ROWS)).sqrt().sum() / 2
    assert 0.5 * (counts - expected).abs().sum() / ROWS < 1.3 * likely  # total variation, beside that of exact draws


def test_a_row_is_the_same_alone_and_in_company():
    sampling = Sampling(temperature=0.9, top_p=0.9)

    def written(rows):
        generators = [torch.Generator().manual_seed(row) for row in rows]
        prompts = [PROMPTS[row] for row in rows]
        task = Task(prompts=prompts, most=14, end=6, sampling=sampling, generators=generators)
        return [row.tokens for row in last(speculate(MODEL, DRAFTS["good"](), task, length=FixedLength(3)))]

    together = written(range(4))
    assert together == [written([row])[0] for row in range(4)]


def test_tokens_a_round_follow_the_formula():
    acceptance = Acceptance()
    generators = [torch.Generator().manual_seed(row) for row in range(60)]
    task = Task(prompts=[[1, 3]] * 60, most=40, sampling=Sampling(temperature=1.0), generators=generators)
    chance = [0.55, 0.3, 0.15, 0.0, 0.0]

    class Steady:
        """A model whose next token never depends on the text, so that acceptance is the same everywhere."""

        vocabulary, context = 5, 48
        new_memory = SMALL.new_memory

        def __call__(self, tokens, memory=None, *, at=None):
            SMALL(tokens, memory)
            return torch.tensor(chance).log().expand(*at.shape, 5)

    draft = NgramDraft()
    draft.propose = lambda held, counts, sampling, generators: [
        Proposal(tokens=(0,) * count, source="steady") for count in counts
    ]
    made = last(speculate(Steady(), draft, task, length=FixedLength(4), acceptance=acceptance))
    rounds = [each for row in made for each in row.rounds if len(each.drafted) == 4]
    assert acceptance.rate == pytest.approx(0.55, abs=0.03)
    mean = sum(each.accepted + 1 for each in rounds) / len(rounds)
    assert mean == pytest.approx(expected_tokens(0.55, 4), rel=0.06)


@pytest.mark.parametrize(("cost", "best"), [(0.01, 7), (0.02, 6), (0.05, 4), (0.1, 3)])
def test_best_length_is_the_authors(cost, best):
    assert best_length(0.6, cost) == best
    assert speedup(0.6, best, cost) > max(speedup(0.6, best - 1, cost), speedup(0.6, best + 1, cost)) - 1e-9


def test_limits_of_the_cost_model():
    assert expected_tokens(0.0, 5) == 1
    assert expected_tokens(1.0, 5) == 6
    assert best_length(0.05, 0.2) == 0
    counted = Acceptance()
    counted.add(accepted=3, drafted=5)
    counted.add(accepted=2, drafted=2)
    assert (counted.accepted, counted.judged) == (5, 6)
    assert BestLength(cost=0.01, most=9)(counted) == 9
    assert BestLength(cost=0.5)(Acceptance(accepted=0, judged=50)) == 0


def test_auto_length_writes_the_same_greedy_text():
    plain = last(write(MODEL, PROMPTS, most=30))
    made = last(speculate(MODEL, DRAFTS["good"](), Task(prompts=PROMPTS, most=30), length=BestLength(cost=0.1)))
    assert [row.tokens for row in made] == [row.tokens for row in plain]
    assert len({len(each.drafted) for row in made for each in row.rounds}) > 1


def test_the_watch_sees_the_models_logits_where_the_draft_was_wrong():
    seen = []
    task = Task(prompts=PROMPTS, most=20)
    made = last(speculate(MODEL, DRAFTS["poor"](), task, watch=lambda *what: seen.append(what)))
    assert seen
    for row, place, logits in seen:
        text = [*PROMPTS[row], *made[row].tokens]
        with torch.no_grad():
            expected = MODEL(torch.tensor([text[:place]]))[0, -1]
        assert torch.allclose(logits, expected, atol=1e-4)


def test_certain_rejection_takes_the_rest():
    proposal = Proposal(tokens=(2,), chances=torch.tensor([[0.2, 0.0, 0.8]]))
    chances = torch.tensor([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]])
    drawn = [judge(proposal, chances, torch.Generator().manual_seed(seed)) for seed in range(2000)]
    assert {accepted for accepted, _ in drawn} == {0}
    assert sum(token == 0 for _, token in drawn) / 2000 == pytest.approx(0.3 / 0.8, abs=0.04)
    assert judge(proposal, torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]), None) == (1, 1)


def test_ngram_finds_the_longest_and_latest_match():
    assert what_followed([5, 1, 2, 3, 9, 8, 2, 3, 7, 7, 1, 2, 3], 2, longest=3) == [9, 8]
    assert what_followed([5, 1, 2, 3, 9, 8, 2, 3, 7, 7, 6, 2, 3], 2, longest=3) == [7, 7]
    assert what_followed([1, 2, 3], 4, longest=3) == []
    assert what_followed([4, 4], 4, longest=3) == [4]
    assert what_followed([7, 1, 2, 9, 2], 3, longest=2, shortest=2) == []


def test_greedy_equals_the_peers_assisted_generation():
    target = LlamaForCausalLM(PeerConfig(**llama_json(MODEL.config))).eval()
    target.load_state_dict(to_theirs(llama_keys(MODEL.config), dict(MODEL.state_dict())))
    small = like(MODEL, 0.08)
    assistant = LlamaForCausalLM(PeerConfig(**llama_json(small.config))).eval()
    assistant.load_state_dict(to_theirs(llama_keys(small.config), dict(small.state_dict())))
    made = last(speculate(MODEL, ModelDraft(small), Task(prompts=PROMPTS, most=24)))
    for prompt, row in zip(PROMPTS, made, strict=True):
        theirs = target.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), max_new_tokens=24, do_sample=False,
            eos_token_id=None, pad_token_id=0, assistant_model=assistant,
        )  # fmt: skip
        assert row.tokens == theirs[0, len(prompt) :].tolist()


def test_what_cannot_be_done_is_refused():
    with pytest.raises(RequestError, match="most"):
        Task(prompts=[[1]], most=0)
    with pytest.raises(RequestError, match="generators"):
        Task(prompts=[[1]], most=1, sampling=Sampling(temperature=1))
    with pytest.raises(RequestError, match="draft length"):
        FixedLength(-1)
    with pytest.raises(RequestError, match="no tokens"):
        last(speculate(MODEL, NgramDraft(), Task(prompts=[[]], most=3)))
    with pytest.raises(RequestError, match="shortest"):
        NgramDraft(longest=1, shortest=2)
    full = last(speculate(MODEL, DRAFTS["good"](), Task(prompts=[[1] * 45, [2]], most=60)))
    assert [len(row.tokens) for row in full] == [4, 48]
