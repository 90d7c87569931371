from __future__ import annotations

import torch

from bottega.networks import Llama, LlamaConfig
from bottega.processes.decoding import BlockView, pack_blocks

TEXTS = [[1, 5, 9, 2, 7, 3, 11, 4, 8, 2], [6, 2, 2, 10, 3]]
STARTS = [[2, 6, 8], [1]]
GUESSES = [[[3, 3, 1, 9], [2, 12, 2, 2], [7, 7, 7, 7]], [[0, 1, 2, 3]]]


def random_model() -> Llama:
    config = LlamaConfig(vocabulary=13, context=40, width=16, depth=2, num_heads=4, num_kv_heads=2, hidden=32)
    generator = torch.Generator().manual_seed(1)
    made = Llama(config).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return made


def test_one_pass_has_the_logits_of_all_blocks_read_one_by_one():
    model, packed = random_model(), pack_blocks(TEXTS, STARTS, GUESSES)
    with torch.no_grad():
        logits = model(packed.tokens, BlockView(packed))
        for row, text in enumerate(TEXTS):
            plain = model(torch.tensor([text]))[0]
            assert torch.allclose(logits[row, : len(text)], plain, atol=1e-4)
            for block, start in enumerate(STARTS[row]):
                alone = model(torch.tensor([[*text[:start], *GUESSES[row][block]]]))[0, start:-1]
                place = packed.length + 3 * block
                assert torch.allclose(logits[row, place : place + 3], alone, atol=1e-4)


def test_states_advance_as_jacobi_iteration_does():
    model, packed = random_model(), pack_blocks(TEXTS, STARTS, GUESSES)
    with torch.no_grad():
        after = packed.advanced(model(packed.tokens, BlockView(packed), at=packed.at()))
        for row, text in enumerate(TEXTS):
            for block, start in enumerate(STARTS[row]):
                said = model(torch.tensor([[*text[:start], *GUESSES[row][block]]]))[0].argmax(-1).tolist()
                place = packed.length + 3 * block
                assert after.tokens[row, place : place + 3].tolist() == [text[start], *said[start : start + 2]]
    assert torch.equal(after.tokens[:, : packed.length], packed.tokens[:, : packed.length])


def test_guesses_count_where_the_text_goes_on():
    packed = pack_blocks(TEXTS, STARTS, GUESSES)
    assert packed.size == 4
    assert packed.guessed[0].tolist() == [[1, 1, 1], [1, 1, 1], [1, 0, 0]]
    assert packed.guessed[1].tolist() == [[1, 1, 1], [0, 0, 0], [0, 0, 0]]
    sources = packed.sources()
    assert sources[0].tolist() == [2, 3, 4, 6, 7, 8, 8, 9, 9]
    assert packed.at()[0].tolist() == list(range(10, 19))
