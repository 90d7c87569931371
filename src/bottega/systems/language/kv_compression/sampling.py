"""Writing with a memory of any policy, what each policy holds, and the layer at which a picture may leave."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

import torch

from bottega.errors import RequestError
from bottega.layers import FullMemory, HeavyHitterMemory, Memory, StreamingMemory
from bottega.networks import Llama, grouped_llama, withdrawal_divergences, withdrawal_layer
from bottega.processes.decoding import Sampling, next_tokens
from bottega.systems.language.kv_compression.model import Reader
from bottega.systems.language.kv_compression.objective import emojis, read_batch

MOST_DIVERGENCE: Final = 0.003
"""Nats that withdrawal may cost (lzhxmu/VTW: the bound for LLaVA 1.5 7B)."""
CALIBRATION: Final = 20
"""Pictures that the layer of withdrawal is found with (as above)."""


class Method(Enum):
    """What is left out."""

    FULL = "full"
    """Nothing: every token's keys and values are kept."""
    WINDOW = "window"
    """All but the last tokens, at their places in the window."""
    STREAMING = "streaming"
    """All but the first tokens and the last ones (StreamingLLM): text of any length."""
    H2O = "h2o"
    """All but the last tokens and those that were looked at most (heavy hitters)."""
    GQA = "gqa"
    """Key and value heads: neighbours become their mean."""
    TOME = "tome"
    """Patches of a picture: the most alike become one (token merging)."""
    VTW = "vtw"
    """The picture, from some layer of the decoder on (visual tokens withdrawal)."""

    @property
    def takes(self) -> str:
        """What the inputs are."""
        return "picture" if self in (Method.TOME, Method.VTW) else "text"


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """What of a text is kept.

    Args:
        method: One for text.
        budget: Most tokens that are held.
        sinks: First tokens that streaming keeps.
        recent: Last tokens that heavy hitters leave in any case; None for half the budget.
        kv_heads: Key and value heads that are left of the model's.
    """

    method: Method
    budget: int = 64
    sinks: int = 4
    recent: int | None = None
    kv_heads: int = 1

    @property
    def endless(self) -> bool:
        """Whether a text may be longer than the context."""
        return self.method in (Method.WINDOW, Method.STREAMING)

    def network(self, model: Llama) -> Llama:
        """The decoder that this policy runs: the model, or a copy with fewer heads."""
        return grouped_llama(model, self.kv_heads) if self.method is Method.GQA else model

    def memory(self, model: Llama, batch: int, capacity: int) -> KeptMemory:
        """An empty memory of this policy.

        Args:
            model: What `network` gave.
            batch: Rows, all of one length.
            capacity: Most tokens that a row will have, for memories that keep all.

        Raises:
            RequestError: A budget that the method or the model cannot work with.
        """
        config = model.config
        if self.endless and self.budget > config.context:
            raise RequestError.of("budget", self.budget, f"at most {config.context}, the context of the model")
        match self.method:
            case Method.WINDOW | Method.STREAMING:
                sinks = self.sinks if self.method is Method.STREAMING else 0
                return StreamingMemory(layers=config.depth, batch=batch, budget=self.budget, sinks=sinks)
            case Method.H2O:
                recent = max(self.budget // 2, 1) if self.recent is None else self.recent
                weight = model.token_embed.weight
                return HeavyHitterMemory(
                    layers=config.depth, batch=batch, kv_heads=config.num_kv_heads, head_dim=config.head_dim,
                    budget=self.budget, recent=recent, dtype=weight.dtype, device=weight.device,
                )  # fmt: skip
            case Method.FULL | Method.GQA:
                return model.new_memory(batch, capacity)
            case Method.TOME | Method.VTW:
                raise RequestError.of("method", self.method.value, "one that reads text")


class KeptMemory(Memory, Protocol):
    """A memory that knows its size."""

    @property
    def bytes(self) -> int:
        """Memory of everything that is held."""
        ...


@dataclass(slots=True)
class Written:
    """A continuation, and what was held at its end.

    Args:
        tokens: The new ids; an end token is the last one.
        seen: Tokens of the prompt and of the text that were read.
        bytes: Of the memory.
        passes: Of the model.
    """

    tokens: list[int] = dataclasses.field(default_factory=list)
    seen: int = 0
    bytes: int = 0
    passes: int = 0


@torch.inference_mode()
def write_kept(
    model: Llama, prompt: Sequence[int], policy: Policy, *, most: int, end: int, sampling: Sampling,
    generator: torch.Generator,
) -> Iterator[Written]:  # fmt: skip
    """Continues one prompt under a policy; yields the same growing record after every token.

    Args:
        model: The language model.
        prompt: Its ids, at least one.
        policy: What is kept.
        most: Most new tokens.
        end: Id that completes the text.
        sampling: How tokens are drawn.
        generator: Of chance.

    Raises:
        RequestError: A text that does not fit into the context, under a policy that needs that.
    """
    if not policy.endless and len(prompt) >= model.context:
        allowed = f"at most {model.context - 1} tokens with this method; streaming takes text of any length"
        raise RequestError.of("the prompt's length", len(prompt), allowed)
    room = most if policy.endless else min(most, model.context - len(prompt) + 1)
    network = policy.network(model)
    memory = policy.memory(network, 1, min(len(prompt) + room, model.context))
    made, new = Written(), list(prompt)
    device = network.token_embed.weight.device
    while len(made.tokens) < room and made.tokens[-1:] != [end]:
        last = torch.tensor([[len(new) - 1]], device=device)
        logits = network(torch.tensor([new], device=device), memory, at=last)[:, 0]
        new = next_tokens(logits, sampling, [generator], [[*prompt, *made.tokens]]).tolist()
        made.tokens += new
        made.seen, made.bytes, made.passes = memory.lengths[0], held_bytes(memory), made.passes + 1
        yield made


def held_bytes(memory: KeptMemory) -> int:
    """What the tokens that were seen take: of buffers that are made once, the part in use."""
    if isinstance(memory, FullMemory):
        return memory.bytes * max(memory.lengths) // memory.capacity
    return memory.bytes


def full_bytes(model: Llama, tokens: int) -> int:
    """What a memory of everything takes for one row of so many tokens."""
    config, size = model.config, model.token_embed.weight.element_size()
    return 2 * config.depth * config.num_kv_heads * config.head_dim * tokens * size


@torch.inference_mode()
def withdrawal(reader: Reader, seed: int) -> tuple[int, list[float]]:
    """The layer at which the picture may leave, found on a few training pictures; and the divergences of all layers."""
    batch = read_batch(emojis(seed=seed), range(CALIBRATION))
    pictures, depth = batch.pictures.to(reader.bridge.weight), reader.config.decoder.depth
    groups = batch.words[:, 0].to(pictures.device)
    full = reader(pictures, groups).flatten(0, 1)
    divergences = withdrawal_divergences(
        full, [reader(pictures, groups, layer=layer).flatten(0, 1) for layer in range(depth)]
    )
    return withdrawal_layer(divergences, MOST_DIVERGENCE), divergences
