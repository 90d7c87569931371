"""Segment Anything's ViT-B against transformers' SamModel (scaled dot-product attention) with the same weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import SamConfig as PeerConfig
from transformers import SamModel

from benchmarks.measure import Outcome, Row, median_ratio, medians, take_turns
from bottega.layers import prepare_for_inference
from bottega.layers.execution import pack, packed_linear
from bottega.processes.segmentation import Prompts
from bottega.systems.vision.sam.checkpoints import hf_table
from bottega.systems.vision.sam.config import PRESETS
from bottega.systems.vision.sam.model import Sam, answers
from bottega.weights import to_ours

ROUNDS, PROMPT_ROUNDS = 3, 15
CONFIG = PRESETS["vit_b"].config
CLICK = {"points": torch.tensor([[[[500.0, 375.0]]]]), "labels": torch.tensor([[[1]]])}


def run() -> Outcome:
    """The encoder in float32 and bfloat16, and one click on an encoded picture, ours and the peer's in turns."""
    ours, peer = _pair()
    half, peer_half = copy.deepcopy(ours).bfloat16(), copy.deepcopy(peer).bfloat16()
    prepare_for_inference(ours)
    picture, gemm, gemm_half, gemm_flops = torch.randn(1, 3, 1024, 1024), *_gemms()
    small = picture.bfloat16()
    with torch.inference_mode():
        features, memory = _measured(lambda: ours.encode(picture))
        expected = peer.vision_encoder(picture).last_hidden_state
        errors = {
            "fp32": _error(features, expected),
            "bf16": _error(half.encode(small), expected),
            "bf16, peer": _error(peer_half.vision_encoder(small).last_hidden_state, expected),
            "click": _error(_click(ours, expected, ours.prompt_encoder.grid()), _peer_click(peer, expected)),
        }
        assert errors["fp32"] < 1e-4, errors
        assert errors["click"] < 1e-3, errors  # the answer of random weights is a small difference of large numbers
        assert errors["bf16"] < 2 * errors["bf16, peer"], errors
        seconds = take_turns(
            {
                "peer": lambda: peer.vision_encoder(picture),
                "ours": lambda: ours.encode(picture),
                "gemm": gemm,
                "peer bf16": lambda: peer_half.vision_encoder(small),
                "ours bf16": lambda: half.encode(small),
                "gemm bf16": gemm_half,
            },
            ROUNDS,
        )
        grid = ours.prompt_encoder.grid()
        seconds |= take_turns(
            {"peer click": lambda: _peer_click(peer, expected), "click": lambda: _click(ours, expected, grid)},
            PROMPT_ROUNDS,
        )
    return _outcome(seconds, errors, gemm_flops, memory)


def _outcome(seconds: dict[str, list[float]], errors: dict[str, float], gemm_flops: float, memory: int) -> Outcome:
    middle, flops = medians(seconds), encoder_flops()

    def row(what: str, name: str, peer: str, floor: str | None) -> Row:
        note = ""
        if floor is not None:
            reached = median_ratio([flops / gemm_flops * value for value in seconds[floor]], seconds[name])
            note = f"{100 * reached:.0f} % of the floor's rate"
        return Row(
            what=what, value=1e3 * middle[name], unit="ms", peer=1e3 * middle[peer],
            ratio=median_ratio(seconds[peer], seconds[name]), note=note,
        )  # fmt: skip

    method = (
        f"ViT-B at 1024 pixels, one picture: {flops / 1e9:.0f} GFLOP. The floor is one product of (4096, 768) with "
        "(768, 3072) in the same turns: packed oneDNN for fp32, torch's own for bf16. Random weights. "
        f"Medians of {ROUNDS} rounds in turns ({PROMPT_ROUNDS} for the click). Largest relative difference from the "
        f"peer: fp32 {errors['fp32']:.1e}, click {errors['click']:.1e}, bf16 {errors['bf16']:.1e} (the peer's own bf16 "
        f"from its fp32: {errors['bf16, peer']:.1e})."
    )
    rates = {name: gemm_flops / middle[name] / 1e9 for name in ("gemm", "gemm bf16")}
    return Outcome(
        name="sam_masks",
        title="Segment Anything (ViT-B) against transformers",
        method=method,
        rows=(
            row("encoder fp32", "ours", "peer", "gemm"),
            row("encoder bf16", "ours bf16", "peer bf16", "gemm bf16"),
            row("one click on an encoded picture, fp32", "click", "peer click", None),
            Row(what="memory that encoding adds to the weights' at its peak, fp32", value=memory / 2**20, unit="MB"),
            Row(what="weights fp32", value=4 * PRESETS["vit_b"].parameters / 2**20, unit="MB"),
            Row(what="floor fp32", value=rates["gemm"], unit="GFLOP/s"),
            Row(what="floor bf16", value=rates["gemm bf16"], unit="GFLOP/s"),
        ),
        details={"seconds": seconds, "errors": errors, "flops": flops, "memory_bytes": memory},
    )


def encoder_flops() -> float:
    """Multiplications and additions of the encoder: linear layers, and attention's products with its two tables."""
    config = CONFIG.encoder
    tokens, width, window = config.side**2, config.width, config.window
    linear = tokens * config.depth * width * width * (4 + 2 * config.mlp_ratio)
    padded = (-(-config.side // window) * window) ** 2
    everywhere = len(config.global_blocks)
    attention = everywhere * 2 * tokens * tokens * width + (config.depth - everywhere) * 2 * padded * window**2 * width
    tables = everywhere * 2 * tokens * config.side * width + (config.depth - everywhere) * 2 * padded * window * width
    ends = tokens * (config.patch_size**2 * 3 * width + width * config.out_channels + 9 * config.out_channels**2)
    return float(2 * (linear + attention + tables + ends))


def _pair() -> tuple[Sam, SamModel]:
    torch.manual_seed(0)
    peer = SamModel(PeerConfig()).eval()
    assert peer.config._attn_implementation == "sdpa"
    with torch.no_grad():
        for parameter in peer.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    ours = Sam(CONFIG).eval()
    ours.load_state_dict(to_ours(hf_table(CONFIG), dict(peer.state_dict())))
    return ours, peer


def _click(model: Sam, features: Tensor, grid: Tensor) -> Tensor:
    return answers(*model.decode(features, Prompts(**CLICK), grid), multimask=True)[0]


def _peer_click(model: SamModel, features: Tensor) -> Tensor:
    return model(image_embeddings=features, input_points=CLICK["points"], input_labels=CLICK["labels"]).pred_masks


def _measured(work: Callable[[], Tensor]) -> tuple[Tensor, int]:
    """What the work makes, and the bytes that the process held on top of what it held before, at their peak (Linux)."""
    work()  # packs weights
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _held("VmRSS")
    made = work()
    return made, _held("VmHWM") - before


def _held(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def _error(a: Tensor, b: Tensor) -> float:
    return float((a.float() - b.float()).abs().max() / b.float().abs().max())


def _gemms() -> tuple:
    x, weight = torch.randn(4096, 768), torch.randn(3072, 768)
    packed, x_half, weight_half = pack(weight, 4096), x.bfloat16(), weight.bfloat16()
    plain = nn.functional.linear
    fp32 = (lambda: plain(x, weight)) if packed is None else (lambda: packed_linear(x, packed, None))
    return fp32, lambda: plain(x_half, weight_half), float(2 * 4096 * 768 * 3072)
