"""An answer of SegGPT ViT-L against transformers' SegGptForImageSegmentation with the same weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import SegGptConfig, SegGptForImageSegmentation

from benchmarks.measure import Outcome, Row, median_ratio, medians, take_turns
from bottega.layers import prepare_for_inference
from bottega.layers.execution import pack, packed_linear
from bottega.networks import Painter, PainterConfig, seggpt_json, seggpt_keys
from bottega.weights import to_theirs

ROUNDS, PROMPTS = 3, 4
CONFIG = PainterConfig(typed=True, drop_path=0.0)
Given = tuple[Tensor, Tensor, Tensor]


def run() -> Outcome:
    """One prompt, and several with the feature ensemble; float32 with packed weights, then bfloat16; in turns."""
    ours, peer = make_pair(CONFIG)
    seconds, errors = {}, {}
    with torch.inference_mode():
        one, several = pictures(CONFIG, 1), pictures(CONFIG, PROMPTS)
        truth = peer_answer(peer, one)
        prepare_for_inference(ours, packed=True)
        errors["fp32"] = difference(our_answer(ours, one), truth)
        assert errors["fp32"] < 1e-4, errors
        seconds |= _turns(ours, peer, one, several, "fp32")
        with torch.device("meta"):
            half = Painter(CONFIG).eval()
        half.load_state_dict({name: value.bfloat16() for name, value in ours.state_dict().items()}, assign=True)
        peer = peer.bfloat16()
        one, several = _halved(one), _halved(several)
        errors["bf16"] = difference(our_answer(half, one), truth)
        errors["bf16, peer"] = difference(peer_answer(peer, one), truth)
        assert errors["bf16"] < 2 * errors["bf16, peer"], errors
        seconds |= _turns(half, peer, one, several, "bf16")
    return _outcome(seconds, errors)


def make_pair(config: PainterConfig) -> tuple[Painter, Any]:
    """Ours and the peer's network with the same random weights."""
    with torch.device("meta"):  # nothing is initialised that is overwritten at once
        ours, peer = Painter(config), SegGptForImageSegmentation(SegGptConfig(**seggpt_json(config)))
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, parameter in ours.named_parameters():
        gain = parameter.ndim == 1 and name.endswith("weight")
        tensors[name] = torch.randn(parameter.shape, generator=generator) * 0.03 + gain
    ours.load_state_dict(tensors, assign=True)
    peer.load_state_dict(to_theirs(seggpt_keys(config), tensors), assign=True)
    return ours.eval(), peer.eval()


def pictures(config: PainterConfig, prompts: int) -> Given:
    """Prompts, their targets, and the query once a prompt, in the network's values."""
    generator = torch.Generator().manual_seed(1)
    shape = (prompts, 3, config.size, config.size)
    shown, targets = (torch.randn(shape, generator=generator) for _ in range(2))
    return shown, targets, torch.randn(1, *shape[1:], generator=generator).expand(shape)


def our_answer(model: Painter, given: Given) -> Tensor:
    """The query's half, `(1, 3, size, size)`."""
    return model.answer(given[0][None], given[1][None], given[2][:1])


def peer_answer(model: Any, given: Given) -> Tensor:  # noqa: ANN401 - a class of transformers
    """The same from the peer, which paints both halves."""
    made = model(given[2], given[0], given[1], embedding_type="instance", feature_ensemble=len(given[0]) > 1)
    return made.pred_masks[:1, :, given[0].shape[-1] :]


def difference(a: Tensor, b: Tensor) -> float:
    """Largest difference over the largest value."""
    return float((a.float() - b.float()).abs().max() / b.float().abs().max())


def answer_flops(config: PainterConfig, prompts: int) -> float:
    """Multiplications and additions of one answer as we compute it: what prompts share is counted once."""
    width, half = config.width, config.rows**2
    passes = 2 * (config.merge_index + 1) + config.depth - config.merge_index - 1
    linear = 2 * (prompts + 1) * half * (4 + 2 * config.mlp_ratio) * width**2
    attention = prompts * 4 * (2 * half) ** 2 * width
    outputs = config.patch_size**2 * config.decoder_width
    decoded = half + config.rows
    decoder = 2 * decoded * (len(config.taps) * width * outputs + outputs * 9 * config.decoder_width)
    return passes * (linear + attention) + decoder


def _halved(given: Given) -> Given:
    return given[0].bfloat16(), given[1].bfloat16(), given[2].bfloat16()


def _turns(ours: Painter, peer: nn.Module, one: Given, several: Given, kind: str) -> dict[str, list[float]]:
    x, weight = torch.randn(1568, CONFIG.width), torch.randn(4 * CONFIG.width, CONFIG.width)
    packed = pack(weight, len(x))
    gemm = lambda: nn.functional.linear(x, weight)  # noqa: E731
    if kind == "bf16":
        x, weight = x.bfloat16(), weight.bfloat16()
    elif packed is not None:
        gemm = lambda: packed_linear(x, packed, None)  # noqa: E731
    ways = {
        f"ours {kind}": lambda: our_answer(ours, one),
        f"peer {kind}": lambda: peer_answer(peer, one),
        f"ours {kind}, several": lambda: our_answer(ours, several),
        f"peer {kind}, several": lambda: peer_answer(peer, several),
        f"gemm {kind}": gemm,
    }
    return take_turns(ways, ROUNDS)


def _outcome(seconds: dict[str, list[float]], errors: dict[str, float]) -> Outcome:
    gemm_flops, middle = 8.0 * 1568 * CONFIG.width**2, medians(seconds)
    with torch.device("meta"):
        weights = sum(p.numel() for p in Painter(CONFIG).parameters())

    def row(kind: str, what: str, prompts: int) -> Row:
        name = kind if prompts == 1 else f"{kind}, several"
        ours, peer, gemm = seconds[f"ours {name}"], seconds[f"peer {name}"], seconds[f"gemm {kind}"]
        reached = median_ratio([answer_flops(CONFIG, prompts) / gemm_flops * value for value in gemm], ours)
        return Row(
            what=what, value=middle[f"ours {name}"], unit="s", peer=middle[f"peer {name}"],
            ratio=median_ratio(peer, ours), note=f"{100 * reached:.0f} % of the floor's rate",
        )  # fmt: skip

    method = (
        f"{weights / 1e6:.0f} M parameters, 448 x 448 pixels: {answer_flops(CONFIG, 1) / 1e9:.0f} GFLOP for an answer "
        f"from one prompt, {answer_flops(CONFIG, PROMPTS) / 1e9:.0f} from {PROMPTS}, and {4 * weights / 1e6:.0f} MB "
        "(fp32) of weights read. The floor is one product of (1568, 1024) with (1024, 4096) in the same turns: packed "
        f"oneDNN for fp32, torch's own for bf16. Medians of {ROUNDS} rounds in turns; ratios are medians of rounds. "
        f"Largest relative difference from the peer with one prompt: fp32 {errors['fp32']:.1e}, bf16 "
        f"{errors['bf16']:.1e} (the peer's own bf16 from its fp32: {errors['bf16, peer']:.1e}). With several prompts "
        "ours is the authors' ensemble, from which the peer's differs at the block where streams merge (a test shows "
        "both); the work is that of the same ensemble."
    )
    rates = {kind: gemm_flops / middle[f"gemm {kind}"] / 1e9 for kind in ("fp32", "bf16")}
    floors = tuple(Row(what=f"floor {kind}", value=rate, unit="GFLOP/s") for kind, rate in rates.items())
    rows = (
        row("fp32", "one prompt, fp32, packed weights", 1),
        row("bf16", "one prompt, bf16", 1),
        row("fp32", f"{PROMPTS} prompts, fp32, packed weights", PROMPTS),
        row("bf16", f"{PROMPTS} prompts, bf16", PROMPTS),
        *floors,
    )
    return Outcome(
        name="seggpt_answer",
        title="An answer of SegGPT ViT-L against transformers",
        method=method,
        rows=rows,
        details={"seconds": seconds, "errors": errors, "weights_bytes_fp32": 4 * weights},
    )
