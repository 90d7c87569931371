"""Mixtral and its relatives: LLaMA's decoder whose feed-forward layers are mixtures of experts.

Source: arXiv:2401.04088, section 2; arXiv:2406.13233 (null experts); arXiv:2202.09368 (experts choose tokens);
arXiv:2404.02258 (layers choose tokens).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bottega.errors import RequestError, WeightsError
from bottega.layers import ExpertChoice, Memory, MixtureOfDepths, TokenChoice, Turns
from bottega.networks.llama import Llama, LlamaConfig
from bottega.networks.llama_tables import llama_config, llama_json, llama_keys, llama_trunk_keys
from bottega.weights import Fuse, KeyTable, Rename


@dataclass(frozen=True, kw_only=True, slots=True)
class Dense:
    """Every token meets the one feed-forward network of each layer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Experts:
    """Tokens choose experts: Mixtral's routing, and AdaMoE's with null experts.

    Args:
        experts: How many a layer has.
        choices: Slots a token chooses.
        nulls: Null experts.
    """

    experts: int = 8
    choices: int = 2
    nulls: int = 0

    def __post_init__(self) -> None:
        if self.experts < 1:
            raise RequestError.of("experts", self.experts, "at least 1")
        if self.nulls < 0:
            raise RequestError.of("nulls", self.nulls, "0 or more")
        if not 1 <= self.choices <= self.experts + self.nulls:
            raise RequestError.of("choices", self.choices, f"1 to {self.experts + self.nulls}, the slots there are")


@dataclass(frozen=True, kw_only=True, slots=True)
class ChosenTokens:
    """Experts choose tokens of a whole text, so that the decoder cannot write.

    Args:
        experts: How many a layer has.
        capacity: Experts that work on a token on average.
    """

    experts: int = 8
    capacity: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.capacity <= self.experts:
            raise RequestError.of("capacity", self.capacity, f"above 0 and at most {self.experts}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ChosenDepths:
    """Every other block works on some tokens of a whole text only, so that the decoder cannot write.

    Args:
        capacity: Share of tokens that such a block works on.
    """

    capacity: float = 0.125

    def __post_init__(self) -> None:
        if not 0 < self.capacity <= 1:
            raise RequestError.of("capacity", self.capacity, "above 0 and at most 1")


Routing = Dense | Experts | ChosenTokens | ChosenDepths


@dataclass(frozen=True, kw_only=True, slots=True)
class MixtralConfig:
    """Size of a decoder with experts.

    Args:
        decoder: The decoder; `hidden` are the channels inside one expert.
        routing: Which networks a token meets.
    """

    decoder: LlamaConfig = LlamaConfig(context=32768, num_kv_heads=8, hidden=14336, rope_base=1e6)
    routing: Routing = Experts()


class DepthBlock(nn.Module):
    """A block of the decoder that works on some tokens of each text."""

    def __init__(self, block: nn.Module, width: int, capacity: float) -> None:
        super().__init__()
        self.block = block
        self.depths = MixtureOfDepths(width, capacity)

    def forward(self, x: Tensor, seen: Turns | Memory, layer: int) -> Tensor:
        """Tokens `(batch, tokens, width)` to the same shape.

        Raises:
            RequestError: With a memory: which tokens are chosen is only known when the whole text is there.
        """
        if not isinstance(seen, Turns):
            raise RequestError(
                "a mixture of depths reads whole texts and cannot write; take experts that tokens choose"
            )

        def body(chosen: Tensor, places: Tensor) -> Tensor:
            turns = Turns(seen.cos[places][:, None], seen.sin[places][:, None], seen.layout)
            return self.block(chosen, turns, layer) - chosen

        return self.depths(x, body)


def mixtral(config: MixtralConfig) -> Llama:
    """The decoder of a configuration, freshly initialised."""
    decoder, routing = config.decoder, config.routing
    match routing:
        case Experts():
            model = Llama(
                decoder,
                lambda: TokenChoice(
                    decoder.width, decoder.hidden,
                    experts=routing.experts, choices=routing.choices, nulls=routing.nulls,
                ),
            )  # fmt: skip
        case ChosenTokens():
            model = Llama(
                decoder,
                lambda: ExpertChoice(
                    decoder.width, decoder.hidden, experts=routing.experts, capacity=routing.capacity
                ),
            )  # fmt: skip
        case ChosenDepths():
            model = Llama(decoder)
            for number in range(1, decoder.depth, 2):
                model.blocks[number] = DepthBlock(model.blocks[number], decoder.width, routing.capacity)
        case Dense():
            model = Llama(decoder)
    return model


def work_per_token(config: MixtralConfig, real: float | None = None) -> float:
    """Multiplications of the weights for one token, attention's scores apart.

    Args:
        config: The decoder.
        real: Experts that work on a token on average; None takes what the routing says without null experts.
    """
    decoder, routing = config.decoder, config.routing
    kv = decoder.num_kv_heads * decoder.head_dim
    attention, network = decoder.width * (2 * decoder.width + 2 * kv), 3 * decoder.width * decoder.hidden
    head = decoder.width * decoder.vocabulary
    match routing:
        case Experts(experts=experts, choices=choices, nulls=nulls):
            busy = float(choices) if real is None else real
            layers = decoder.depth * (attention + busy * network + (experts + nulls) * decoder.width)
        case ChosenTokens(experts=experts, capacity=capacity):
            layers = decoder.depth * (attention + capacity * network + experts * decoder.width)
        case ChosenDepths(capacity=capacity):
            some = decoder.depth // 2
            layers = (decoder.depth - some + capacity * some) * (attention + network) + some * decoder.width
        case Dense():
            layers = decoder.depth * (attention + network)
    return layers + head


def is_causal(model: Llama, tokens: Tensor, place: int) -> bool:
    """Whether logits in front of a place stay as they are when the token there changes.

    Args:
        model: The decoder.
        tokens: One text, `(tokens,)`.
        place: Which token changes.
    """
    texts = tokens.expand(model.vocabulary, -1).clone()
    texts[:, place] = torch.arange(model.vocabulary, device=tokens.device)
    with torch.inference_mode():
        logits = torch.cat([model(part)[:, :place] for part in texts.split(64)])
    return torch.allclose(logits, logits[:1].expand_as(logits), atol=1e-4 * float(logits.abs().max()))


def mixtral_keys(config: MixtralConfig) -> KeyTable:
    """Against transformers' `MixtralForCausalLM` as its files name things, with AdaMoE's `gate2` for null experts.

    Raises:
        WeightsError: Tokens do not choose experts here, and the layout has no other routing.
    """
    match config.routing:
        case Experts(nulls=nulls):
            ours, theirs = "blocks.{i}.mlp", "model.layers.{i}.block_sparse_moe"
            expert = (f"{theirs}.experts.{{j}}.w1.weight", f"{theirs}.experts.{{j}}.w3.weight")
            gates = (Rename(f"{ours}.gate.weight", f"{theirs}.gate.weight"),)
            if nulls:
                gates = (*gates, Rename(f"{ours}.null_gate.weight", f"{theirs}.gate2.weight"))
            return (
                *llama_trunk_keys(config.decoder),
                *gates,
                Fuse(f"{ours}.experts.{{j}}.gate_up.weight", expert),
                Rename(f"{ours}.experts.{{j}}.down.weight", f"{theirs}.experts.{{j}}.w2.weight"),
            )
        case Dense():
            return llama_keys(config.decoder)
        case other:
            raise WeightsError(f"transformers has no decoder with {type(other).__name__}; save it in bottega's layout")


def mixtral_config(theirs: Mapping[str, Any]) -> MixtralConfig:
    """Our configuration for transformers' `config.json` of a Mixtral, or of a LLaMA, which is dense.

    Raises:
        WeightsError: A variant that this decoder is not.
    """
    if theirs.get("sliding_window") is not None:
        raise WeightsError(
            f"config.json has sliding_window {theirs['sliding_window']}, which Mixtral 8x7B does not have"
        )
    decoder = llama_config({"rope_theta": 1e6, **theirs} if "rope_parameters" not in theirs else theirs)
    if "num_local_experts" not in theirs:
        return MixtralConfig(decoder=decoder, routing=Dense())
    routing = Experts(
        experts=theirs["num_local_experts"],
        choices=theirs["num_experts_per_tok"],
        nulls=theirs.get("num_null_experts", 0),
    )
    return MixtralConfig(decoder=decoder, routing=routing)


def mixtral_json(config: MixtralConfig) -> dict[str, Any]:
    """Transformers' `config.json` for our configuration; null experts are said in a field of their own.

    Raises:
        WeightsError: As `mixtral_keys`.
    """
    said = llama_json(config.decoder)
    match config.routing:
        case Experts(experts=experts, choices=choices, nulls=nulls):
            named = {"architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "sliding_window": None}
            counts = {"num_local_experts": experts, "num_experts_per_tok": choices}
            return said | named | counts | ({"num_null_experts": nulls} if nulls else {})
        case Dense():
            return said
        case other:
            raise WeightsError(f"transformers has no decoder with {type(other).__name__}; save it in bottega's layout")
