from __future__ import annotations

import pytest
import torch

from bottega.errors import RequestError
from bottega.layers import FullMemory, HeavyHitterMemory, Memory, Rotary, StreamingMemory

HEADS, KV, DIM, BATCH, LENGTH = 4, 2, 8, 2, 16
ROTARY = Rotary(DIM)
Parts = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def text(scale: float = 1.0) -> Parts:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(BATCH, heads, LENGTH, DIM, generator=generator) for heads in (HEADS, KV, KV))
    return scale * q, scale * k, v


def full() -> FullMemory:
    return FullMemory(layers=1, batch=BATCH, kv_heads=KV, head_dim=DIM, capacity=LENGTH)


def heavy(budget: int, recent: int) -> HeavyHitterMemory:
    return HeavyHitterMemory(layers=1, batch=BATCH, kv_heads=KV, head_dim=DIM, budget=budget, recent=recent)


def streaming(budget: int, sinks: int = 4) -> StreamingMemory:
    return StreamingMemory(layers=1, batch=BATCH, budget=budget, sinks=sinks)


def see(memory: Memory, parts: Parts, pieces: tuple[int, ...]) -> torch.Tensor:
    made = []
    for q, k, v in zip(*(part.split(list(pieces), 2) for part in parts), strict=True):
        memory.begin(q.shape[2], ROTARY)
        made.append(memory.attend(0, q, k, v))
        memory.finish()
    assert list(memory.lengths) == [LENGTH] * BATCH
    return torch.cat(made, 2)


PIECES = [(LENGTH,), (1,) * LENGTH, (3, 1, 8, 4), (10, 1, 1, 1, 3)]


@pytest.mark.parametrize("pieces", PIECES)
@pytest.mark.parametrize("budget", [LENGTH, LENGTH + 9])
def test_with_room_for_everything_nothing_is_forgotten(budget: int, pieces: tuple[int, ...]) -> None:
    expected = see(full(), text(), (LENGTH,))
    for memory in (streaming(budget), streaming(budget, 0), heavy(budget, 5), heavy(budget, budget)):
        torch.testing.assert_close(see(memory, text(), pieces), expected, atol=2e-6, rtol=1e-5)


def attended(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    shares = (k @ q * DIM**-0.5).softmax(-1)
    return shares @ v, shares


def turned(x: torch.Tensor, place: int) -> torch.Tensor:
    return ROTARY.turns(torch.tensor([place])).rotate(x[None])[0]


@pytest.mark.parametrize(("budget", "sinks"), [(9, 4), (9, 0), (5, 4)])
@pytest.mark.parametrize("pieces", PIECES)
def test_streaming_is_sinks_and_window_at_their_places_in_the_memory(budget, sinks, pieces) -> None:
    q, k, v = text()
    got = see(streaming(budget, sinks), (q, k, v), pieces)
    for row in range(BATCH):
        for head in range(HEADS):
            for place in range(LENGTH):
                kept = [n for n in range(place + 1) if n < sinks or place - n < budget - sinks]
                keys = torch.stack([turned(k[row, head // 2, n], at) for at, n in enumerate(kept)])
                query = turned(q[row, head, place], len(kept) - 1)
                expected, _ = attended(query, keys, v[row, head // 2, kept])
                torch.testing.assert_close(got[row, head, place], expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(("budget", "recent"), [(9, 4), (3, 1), (6, 6), (1, 1)])
@pytest.mark.parametrize("pieces", PIECES)
def test_heavy_hitters_stay_and_the_least_seen_leave(budget, recent, pieces) -> None:
    q, k, v = text(2.0)
    memory = heavy(budget, recent)
    got = see(memory, (q, k, v), pieces)
    for row in range(BATCH):
        for kv in range(KV):
            received: dict[int, float] = {}
            for place in range(LENGTH):
                if len(received) == budget:
                    old = [n for n in received if n <= place - recent]
                    received.pop(min(old, key=lambda n: received[n]))
                received[place] = 0.0
                kept = sorted(received)
                keys = torch.stack([turned(k[row, kv, n], n) for n in kept])
                for head in (2 * kv, 2 * kv + 1):
                    expected, shares = attended(turned(q[row, head, place], place), keys, v[row, kv, kept])
                    torch.testing.assert_close(got[row, head, place], expected, atol=2e-5, rtol=1e-4)
                    for n, share in zip(kept, shares.tolist(), strict=True):
                        received[n] += share
            assert sorted(memory.positions[0, row, kv].tolist()) == sorted(received)


def test_only_recent_tokens_are_a_window() -> None:
    got = see(heavy(6, 6), text(), (LENGTH,))
    q, k, v = text()
    turns = ROTARY.turns(torch.arange(LENGTH))
    keys, values = turns.rotate(k)[:, :, -6:].repeat_interleave(2, 1), v[:, :, -6:].repeat_interleave(2, 1)
    shares = (turns.rotate(q)[:, :, -1:] @ keys.mT * DIM**-0.5).softmax(-1)
    torch.testing.assert_close(got[:, :, -1:], shares @ values, atol=2e-5, rtol=1e-4)


def test_bytes_are_bounded() -> None:
    small, large = streaming(8), full()
    see(small, text(), (LENGTH,))
    assert small.bytes == 2 * 8 * KV * DIM * BATCH * 4
    assert large.bytes == 2 * LENGTH * KV * DIM * BATCH * 4
    hitters = heavy(8, 4)
    assert hitters.bytes == small.bytes + 8 * KV * BATCH * (4 + 8)


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (lambda: streaming(4, 4), "sinks"),
        (lambda: streaming(4, -1), "sinks"),
        (lambda: heavy(0, 1), "budget"),
        (lambda: heavy(4, 0), "recent"),
        (lambda: heavy(4, 5), "recent"),
    ],
)
def test_impossible_budgets_are_refused(make, wrong: str) -> None:
    with pytest.raises(RequestError, match=wrong):
        make()
