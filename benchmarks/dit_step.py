"""One step of DiT-XL/2 against diffusers' DiTTransformer2DModel with the same weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel
from torch import Tensor, nn

from benchmarks.measure import Outcome, Row, median_ratio, medians, take_turns
from bottega.layers import prepare_for_inference
from bottega.layers.execution import pack, packed_linear
from bottega.networks import DIT_DIFFUSERS_SIZES, Dit, DitConfig, dit_diffusers_keys, dit_json
from bottega.weights import to_theirs

BATCH, ROUNDS = 2, 5
CONFIG = DIT_DIFFUSERS_SIZES["xl-2"]
Pair = tuple[Dit, nn.Module]


def run() -> Outcome:
    """Float32 with packed weights, and bfloat16, ours and the peer's in turns; one kind after the other, for memory."""
    pair, given = make_pair(CONFIG), signals(CONFIG, BATCH)
    seconds, errors = {}, {}
    with torch.inference_mode():
        truth = peer_step(pair[1], *given)
        errors["fp32"] = difference(pair[0](*given), truth)
        prepare_for_inference(pair[0], packed=True)
        errors["fp32, packed weights"] = difference(pair[0](*given), truth)
        assert errors["fp32"] < 1e-5 > errors["fp32, packed weights"], errors
        seconds |= _turns(pair, given, "fp32")
        half, half_given = _halved(pair), (given[0].bfloat16(), *given[1:])
        errors["bf16"] = difference(half[0](*half_given), truth)
        errors["bf16, peer"] = difference(peer_step(half[1], *half_given), truth)
        assert errors["bf16"] < 2 * errors["bf16, peer"], errors
        seconds |= _turns(half, half_given, "bf16")
    return _outcome(seconds, errors)


def make_pair(config: DitConfig) -> Pair:
    """Ours and the peer's network with the same random weights."""
    torch.manual_seed(0)
    ours = Dit(config).eval()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.copy_(0.02 * torch.randn_like(parameter))
    peer: Any = DiTTransformer2DModel.from_config(dit_json(config))
    peer.load_state_dict(to_theirs(dit_diffusers_keys(config), ours.state_dict()))
    return ours, peer.eval()


def signals(config: DitConfig, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy latents, times and classes."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, config.channels, config.size, config.size, generator=generator)
    return x, torch.full((batch,), 500.0), torch.arange(batch) % config.classes


def peer_step(model: nn.Module, x: Tensor, time: Tensor, label: Tensor) -> Tensor:
    """The peer's output."""
    return model(x, timestep=time, class_labels=label).sample


def difference(a: Tensor, b: Tensor) -> float:
    """Largest difference over the largest value."""
    return float((a.float() - b.float()).abs().max() / b.float().abs().max())


def step_flops(config: DitConfig, batch: int) -> float:
    """Multiplications and additions of one step: linear layers on their tokens, modulations, attention's products."""
    width, tokens = config.width, config.patches
    block = 2 * tokens * (4 + 2 * config.mlp_ratio) * width**2 + 4 * tokens**2 * width + 2 * 6 * width**2
    ends = 2 * tokens * width * config.patch_size**2 * (config.channels + config.outputs)
    return batch * (config.depth * block + ends)


def _halved(pair: Pair) -> Pair:
    """Copies in bfloat16; the originals go."""
    fresh = Dit(CONFIG).eval()
    fresh.load_state_dict(pair[0].state_dict())
    return fresh.bfloat16(), copy.deepcopy(pair[1]).bfloat16()


def _turns(pair: Pair, given: tuple[Tensor, ...], kind: str) -> dict[str, list[float]]:
    ours, peer = pair
    x, weight = torch.randn(BATCH * CONFIG.patches, CONFIG.width), torch.randn(4 * CONFIG.width, CONFIG.width)
    packed = pack(weight, len(x))
    gemm = lambda: nn.functional.linear(x, weight)  # noqa: E731
    if kind == "bf16":
        x, weight = x.bfloat16(), weight.bfloat16()
    elif packed is not None:
        gemm = lambda: packed_linear(x, packed, None)  # noqa: E731
    ways = {f"ours {kind}": lambda: ours(*given), f"peer {kind}": lambda: peer_step(peer, *given), f"gemm {kind}": gemm}
    return take_turns(ways, ROUNDS)


def _outcome(seconds: dict[str, list[float]], errors: dict[str, float]) -> Outcome:
    flops, gemm_flops = step_flops(CONFIG, BATCH), 8.0 * BATCH * CONFIG.patches * CONFIG.width**2
    middle = medians(seconds)
    with torch.device("meta"):
        weights = sum(p.numel() for p in Dit(CONFIG).parameters())

    def row(kind: str, what: str) -> Row:
        ours, peer, gemm = (seconds[f"{who} {kind}"] for who in ("ours", "peer", "gemm"))
        reached = median_ratio([flops / gemm_flops * value for value in gemm], ours)
        return Row(
            what=what, value=middle[f"ours {kind}"], unit="s", peer=middle[f"peer {kind}"],
            ratio=median_ratio(peer, ours), note=f"{100 * reached:.0f} % of the floor's rate",
        )  # fmt: skip

    shape = f"({BATCH * CONFIG.patches}, {CONFIG.width}) with ({CONFIG.width}, {4 * CONFIG.width})"
    packed, half, peer = (f"{errors[kind]:.1e}" for kind in ("fp32, packed weights", "bf16", "bf16, peer"))
    method = (
        f"{weights / 1e6:.0f} M parameters, {CONFIG.size} x {CONFIG.size} latents, batch {BATCH}: "
        f"{flops / 1e9:.0f} GFLOP and at least {4 * weights / 1e6:.0f} MB (fp32) of weights read in a step. The floor "
        f"is one product of {shape} in the same turns: packed oneDNN for fp32, torch's own for bf16. Medians of "
        f"{ROUNDS} rounds in turns; ratios are medians of rounds. Largest relative difference from the peer: fp32 "
        f"{errors['fp32']:.1e}, packed {packed}, bf16 {half} (the peer's own bf16 from its fp32: {peer})."
    )
    rates = {kind: gemm_flops / middle[f"gemm {kind}"] / 1e9 for kind in ("fp32", "bf16")}
    floors = tuple(Row(what=f"floor {kind}", value=rate, unit="GFLOP/s") for kind, rate in rates.items())
    return Outcome(
        name="dit_step",
        title="A step of DiT-XL/2 against diffusers",
        method=method,
        rows=(row("fp32", "fp32, packed weights"), row("bf16", "bf16"), *floors),
        details={"seconds": seconds, "errors": errors, "flops": flops, "weights_bytes_fp32": 4 * weights},
    )
