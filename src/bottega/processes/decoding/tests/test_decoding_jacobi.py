from __future__ import annotations

import pytest
import torch

from bottega.errors import RequestError
from bottega.networks import Llama, LlamaConfig
from bottega.processes.decoding import (
    ContextGuess,
    NgramGuess,
    Sampling,
    Task,
    Window,
    jacobi,
    probabilities,
    repeat_rate,
    trajectories,
    write,
)
from bottega.processes.decoding.jacobi import Iteration, JacobiText

PROMPTS = [[1, 5, 9], [2, 2, 8, 7, 6, 4, 3], [11], [4, 4, 4, 4]]


def random_model(seed: int = 3, scale: float = 0.4) -> Llama:
    config = LlamaConfig(vocabulary=13, context=60, width=16, depth=2, num_heads=2, num_kv_heads=1, hidden=32)
    generator = torch.Generator().manual_seed(seed)
    made = Llama(config).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return made


MODEL = random_model()
GUESSES = {
    "context": ContextGuess(),
    "other seed": ContextGuess(seed=5),
    "n-gram": NgramGuess(),
    "wrong": lambda held, count: [12] * count,
}


def last(steps):
    return list(steps)[-1]


@pytest.mark.parametrize("rolling", [False, True], ids=["blocks", "rolling"])
@pytest.mark.parametrize("size", [1, 4, 16, 64])
@pytest.mark.parametrize("guess", GUESSES)
def test_text_is_greedy_whatever_the_first_guess(guess, size, rolling):
    plain = last(write(MODEL, PROMPTS, most=40, end=7))
    window = Window(size=size, rolling=rolling, guess=GUESSES[guess])
    made = last(jacobi(MODEL, Task(prompts=PROMPTS, most=40, end=7), window))
    assert [row.tokens for row in made] == [row.tokens for row in plain]
    assert [row.done for row in made] == [row.done for row in plain]
    assert all(len(row.iterations) <= len(row.tokens) for row in made)


def test_the_solution_as_guess_takes_one_pass_a_block():
    plain = last(write(MODEL, PROMPTS, most=32))

    def oracle(held, count):
        row = next(row for row, prompt in enumerate(PROMPTS) if held[: len(prompt)] == prompt)
        return [*PROMPTS[row], *plain[row].tokens, *[0] * count][len(held) :][:count]

    made = last(jacobi(MODEL, Task(prompts=PROMPTS, most=32), Window(size=8, guess=oracle)))
    assert [len(row.iterations) for row in made] == [4] * 4
    assert [row.fast_forwarded for row in made] == [28] * 4


def uncached(prompt: list[int], block: list[int]) -> list[tuple[int, ...]]:
    """The states of a whole block by passes over everything, to the fixed point; nothing is remembered or fixed."""
    states = [tuple(block)]
    while len(states) < 2 or states[-1] != states[-2]:
        with torch.no_grad():
            logits = MODEL(torch.tensor([[*prompt, *states[-1]]]))[0]
        states.append(tuple(logits[len(prompt) - 1 : -1].argmax(-1).tolist()))
    return states


def test_cached_states_are_the_uncached_ones():
    made = last(jacobi(MODEL, Task(prompts=PROMPTS, most=24), Window(size=8)))
    for prompt, row in zip(PROMPTS, made, strict=True):
        blocks = trajectories(row, 8)
        assert [block.start for block in blocks] == [0, 8, 16]
        for block in blocks:
            expected = uncached([*prompt, *row.tokens[: block.start]], list(block.states[0]))
            found = list(block.states)
            assert found == expected[: len(found)]
            assert expected[len(found) :] in ([], [found[-1]], [found[-1]] * 2)
            assert len(found) - 1 <= 8


def test_prefixes_only_grow():
    made = last(jacobi(MODEL, Task(prompts=PROMPTS, most=24), Window(size=8)))
    for row in made:
        for block in trajectories(row, 8):
            agreed = [
                next((i for i, (a, b) in enumerate(zip(state, block.states[-1], strict=True)) if a != b), 8)
                for state in block.states
            ]
            assert agreed == sorted(agreed)
            assert all(later >= min(number, 8) for number, later in enumerate(agreed))
        places = [each.place for each in row.iterations]
        assert all(a < b for a, b in zip(places, places[1:], strict=False))
        assert sum(each.confirmed for each in row.iterations) == len(row.tokens)


SAMPLING = Sampling(temperature=1.1, top_p=0.95, repetition_penalty=1.2)


def test_sampled_text_is_the_sequential_one_with_the_same_noise():
    def fresh(row):
        return torch.Generator().manual_seed(40 + row)

    task = Task(prompts=PROMPTS, most=20, sampling=SAMPLING, generators=[fresh(row) for row in range(4)])
    made = last(jacobi(MODEL, task, Window(size=6, rolling=True)))
    for row, prompt in enumerate(PROMPTS):
        generator, text = fresh(row), list(prompt)
        for _ in range(20):
            with torch.no_grad():
                chances = probabilities(MODEL(torch.tensor([text]))[:, -1], SAMPLING, [text])[0]
            text.append(int((chances / torch.empty(13).exponential_(generator=generator)).argmax()))
        assert made[row].tokens == text[len(prompt) :]


def test_sampled_tokens_have_their_chances():
    count, sampling = 3000, Sampling(temperature=1.0)
    generators = [torch.Generator().manual_seed(row) for row in range(count)]
    task = Task(prompts=[[1, 3]] * count, most=1, sampling=sampling, generators=generators)
    drawn = torch.tensor([row.tokens[0] for row in last(jacobi(MODEL, task, Window(size=1)))])
    with torch.no_grad():
        chances = MODEL(torch.tensor([[1, 3]]))[0, -1].softmax(-1)
    counts = drawn.bincount(minlength=13)
    chi_square = ((counts - count * chances) ** 2 / (count * chances)).sum()
    assert chi_square < 12 + 4.5 * 24**0.5


def step(place, state, confirmed):
    return Iteration(place=place, guess=tuple(state), state=tuple(state), confirmed=confirmed)


def test_fast_forwarded_and_stationary_tokens_are_counted():
    # the solution is 1 2 3 4 5 6; the 5 stands early behind a wrong token and stays, the 6 stands early but moves again
    text = JacobiText(
        tokens=[1, 2, 3, 4, 5, 6],
        iterations=[step(0, [1, 0, 0, 0, 5, 6], 1), step(1, [2, 3, 0, 5, 0], 2), step(3, [4, 5, 6], 3)],
    )
    assert text.fast_forwarded == 3
    assert text.stationary == 1
    plain = JacobiText(tokens=[1, 2], iterations=[step(0, [1, 2], 1), step(1, [2], 1)])
    assert (plain.fast_forwarded, plain.stationary) == (0, 0)


def test_blocks_end_with_the_text():
    plain = last(write(MODEL, [PROMPTS[0]], most=40))[0]
    made = last(jacobi(MODEL, Task(prompts=[PROMPTS[0]], most=40, end=plain.tokens[10]), Window(size=8)))[0]
    blocks = trajectories(made, 8)
    assert [token for block in blocks for token in block.states[-1]] == made.tokens
    assert {len(state) for state in blocks[-1].states} == {len(made.tokens) - blocks[-1].start}


def test_repeats():
    assert repeat_rate([3, 3, 3, 3]) == 1
    assert repeat_rate([3, 4, 3, 3]) == pytest.approx(1 / 3)
    assert repeat_rate([3]) == 0


def test_a_window_holds_something():
    with pytest.raises(RequestError, match="window"):
        Window(size=0)
    made = last(jacobi(MODEL, Task(prompts=[[1] * 57, [2]], most=70), Window(size=16)))
    assert [len(row.tokens) for row in made] == [4, 60]
