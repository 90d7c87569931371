"""What each method costs and saves: perplexity and bytes of text, right answers and work of pictures."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

from bottega.layers import LatentConfig
from bottega.networks import Llama, merged_counts
from bottega.room import Measure, Progress, Report
from bottega.systems.language.kv_compression.model import KvCompression, Reader
from bottega.systems.language.kv_compression.objective import ReadingBatch, emojis, read_batch
from bottega.systems.language.kv_compression.sampling import CALIBRATION, Method, Policy, held_bytes, withdrawal
from bottega.worlds.queries import QueriesWorld

BUDGETS: Final = (16, 32, 64)
LENGTH: Final = 256
"""Tokens of a text, at most those of the context; long texts are twice the context."""
MERGED: Final = (2, 4, 6, 8)
BATCH: Final = 8


@torch.inference_mode()
def evaluate(model: KvCompression, seed: int, limit: int, report: Report) -> dict[str, Measure]:
    """A table of all methods.

    Text: perplexity of the second half of texts. Its baseline is the full memory's, its control that of a model that
    sees nothing but the last token. Long texts are twice as long as the context: a full memory then has positions that
    the model never learned, and more bytes. Pictures: share of right classes among 99. Its baseline is the
    whole model's, its control that of answers to other pictures.

    Args:
        model: The room with its language model.
        seed: Picks texts and pictures.
        limit: Pictures; an eighth as many windows of text.
        report: Called after every method; may raise `Cancelled`.
    """
    found = _texts(model, max(limit // 8, 1), seed, report)
    if model.reader is not None:
        batch = read_batch(emojis("heldout", seed), range(max(limit, 2)))
        found |= _merging(model.reader, batch) | _withdrawing(model.reader, batch, seed)
    config = LatentConfig()
    heads = config.heads * (config.plain_dim + config.rotary_dim + config.value_dim)
    found["mla: numbers a layer keeps of a token, DeepSeek-V2"] = Measure(
        value=config.numbers_per_token, baseline=heads, higher_is_better=False
    )
    report(Progress(step=3, total=3, stage="pictures"))
    return found


def policies(model: Llama) -> dict[str, Policy]:
    """The policies of the table by name, as far as they leave something out of a model's context."""
    bounded, kv_heads = (Method.WINDOW, Method.STREAMING, Method.H2O), model.config.num_kv_heads
    budgets = [budget for budget in BUDGETS if budget < model.context]
    named = {f"{each.value} {budget}": Policy(method=each, budget=budget) for each in bounded for budget in budgets}
    return named | ({"gqa 1": Policy(method=Method.GQA, kv_heads=1)} if kv_heads > 1 else {})


def _texts(model: KvCompression, count: int, seed: int, report: Report) -> dict[str, Measure]:
    network, named = model.network, policies(model.network)
    windows = text_windows(model, count, min(network.context, LENGTH), seed)
    blind, _ = perplexity(network, windows, Policy(method=Method.WINDOW, budget=1))
    found = _rows(network, windows, named, "", blind)
    report(Progress(step=1, total=3, stage="texts"))
    longest = {name: policy for name, policy in named.items() if policy.endless and policy.budget >= BUDGETS[-1]}
    long = text_windows(model, max(count // 4, 1), 2 * network.context, seed)
    found |= _rows(network, long, longest, " of long texts", None)
    report(Progress(step=2, total=3, stage="long texts"))
    return found


def _rows(
    network: Llama, windows: Tensor, named: dict[str, Policy], what: str, blind: float | None
) -> dict[str, Measure]:
    """Perplexity and bytes of each policy beside those of everything; `blind` is the perplexity without a memory."""
    full, whole = perplexity(network, windows, Policy(method=Method.FULL))
    samples, found = windows.numel() // 2, dict[str, Measure]()
    for name, policy in named.items():
        value, held = perplexity(network, windows, policy)
        found[f"{name}: perplexity{what}"] = Measure(
            value=value, baseline=full, control=blind, higher_is_better=False, samples=samples
        )
        found[f"{name}: bytes{what}"] = Measure(
            value=held, baseline=whole, unit="B", higher_is_better=False, samples=samples
        )
    return found


def text_windows(model: KvCompression, count: int, length: int, seed: int) -> Tensor:
    """Held-out passages one behind the other, ids `(count, length)`."""
    tokens, source, ids = model.target.tokens, QueriesWorld(split="heldout", seed=seed), list[int]()
    number = 0
    while len(ids) < count * length:
        ids += tokens.ids(source.sample(number).text, start=True, end=True)
        number += 1
    return torch.tensor(ids[: count * length]).view(count, length)


@torch.inference_mode()
def perplexity(model: Llama, windows: Tensor, policy: Policy) -> tuple[float, float]:
    """The perplexity of the second half of every window, and the bytes that one window's memory takes at its end."""
    network, half = policy.network(model), windows.shape[1] // 2
    device, total, held = network.token_embed.weight.device, 0.0, 0
    for rows in windows.to(device).split(BATCH):
        memory = policy.memory(network, len(rows), windows.shape[1])
        logits = network(rows, memory)[:, half - 1 : -1].float().log_softmax(-1)
        total -= float(logits.gather(-1, rows[:, half:, None]).sum())
        held += held_bytes(memory)
    return math.exp(total / windows[:, half:].numel()), held / len(windows)


def _right(reader: Reader, batch: ReadingBatch, *, merged: int = 0, layer: int | None = None) -> tuple[float, float]:
    """Percent of right classes; and of those that are right for the next picture."""
    said = reader.read(batch.pictures.to(reader.bridge.weight), merged=merged, layer=layer)[:, 1].cpu()
    right = batch.words[:, 1]
    return 100 * float((said == right).float().mean()), 100 * float((said.roll(1, 0) == right).float().mean())


def _merging(reader: Reader, batch: ReadingBatch) -> dict[str, Measure]:
    config, samples = reader.config.tower, len(batch.words)
    whole, _ = _right(reader, batch)
    patches = 1 + (config.size // config.patch_size) ** 2
    found = {}
    for merged in MERGED:
        value, other = _right(reader, batch, merged=merged)
        counts = merged_counts(patches, merged, config.depth)
        found[f"tome {merged}: right classes"] = Measure(
            value=value, baseline=whole, control=other, unit="%", samples=samples
        )
        found[f"tome {merged}: work of the tower"] = Measure(
            value=100 * tower_work(counts, config.width) / tower_work((patches,) * len(counts), config.width),
            baseline=100.0,
            unit="%",
            higher_is_better=False,
        )
    return found  # fmt: skip


def tower_work(counts: tuple[int, ...], width: int) -> float:
    """Multiplications of a tower whose blocks attend over `counts[i]` tokens and feed `counts[i + 1]` forward."""
    pairs = zip(counts[:-1], counts[1:], strict=True)
    return float(sum(4 * n * width**2 + 2 * n**2 * width + 8 * m * width**2 for n, m in pairs))


def _withdrawing(reader: Reader, batch: ReadingBatch, seed: int) -> dict[str, Measure]:
    samples, depth = len(batch.words), reader.config.decoder.depth
    (whole, other), (chosen, divergences) = _right(reader, batch), withdrawal(reader, seed)
    blind, _ = _right(reader, batch, layer=0)
    found = {
        "vtw: blocks that see the picture": Measure(
            value=chosen, baseline=depth, higher_is_better=False, samples=CALIBRATION
        )
    }
    for layer in range(1, depth + 1):
        value, _ = _right(reader, batch, layer=layer)
        found[f"vtw {layer}: right classes"] = Measure(
            value=value, baseline=whole, control=blind, unit="%", samples=samples
        )
        found[f"vtw {layer}: divergence"] = Measure(
            value=divergences[layer] if layer < depth else 0.0,
            control=divergences[0],
            unit="nats",
            higher_is_better=False,
            samples=CALIBRATION,
        )
    found["vtw: right classes of other pictures"] = Measure(
        value=other, higher_is_better=False, unit="%", samples=samples
    )
    return found  # fmt: skip
