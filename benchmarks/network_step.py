"""One step of the joint U-ViT against diffusers' UniDiffuserModel with the same weights."""

from __future__ import annotations

import copy

import torch
from diffusers import UniDiffuserModel
from torch import Tensor, nn

from benchmarks.measure import Outcome, Row, median_ratio, medians, take_turns
from bottega.layers import prepare_for_inference
from bottega.layers.execution import pack, packed_linear
from bottega.networks import BlockNorm, UVitTrunkConfig
from bottega.systems.diffusion.unidiffuser.checkpoints import joint_json, joint_table
from bottega.systems.diffusion.unidiffuser.config import JointUVitConfig
from bottega.systems.diffusion.unidiffuser.model import JointUVit, Signals
from bottega.weights import to_theirs

BATCH, ROUNDS = 2, 9
CONFIG = JointUVitConfig(
    trunk=UVitTrunkConfig(width=768, depth=12, num_heads=12, norm=BlockNorm.POST), latent_size=32
)  # fmt: skip


def run() -> Outcome:
    """Float32 plain and with packed weights, and bfloat16, ours and the peer's in turns."""
    ours, peer = _pair()
    packed, ours_half, peer_half = copy.deepcopy(ours), copy.deepcopy(ours).bfloat16(), copy.deepcopy(peer).bfloat16()
    prepare_for_inference(packed, packed=True)
    signals, time = _signals(), torch.full((BATCH,), 500.0)
    half = Signals(*(part.bfloat16() for part in signals.parts()))
    gemm, gemm_half, gemm_flops = _gemms()
    with torch.inference_mode():
        errors = {
            "fp32": _error(_ours(ours, signals, time), _theirs(peer, signals, time)),
            "fp32, packed weights": _error(_ours(packed, signals, time), _theirs(peer, signals, time)),
            "bf16": _error(_ours(ours_half, half, time), _theirs(peer, signals, time)),
            "bf16, peer": _error(_theirs(peer_half, half, time), _theirs(peer, signals, time)),
        }
        assert errors["fp32"] < 1e-5 > errors["fp32, packed weights"], errors
        assert errors["bf16"] < 2 * errors["bf16, peer"], errors
        seconds = take_turns(
            {
                "peer": lambda: _theirs(peer, signals, time),
                "plain": lambda: _ours(ours, signals, time),
                "packed": lambda: _ours(packed, signals, time),
                "gemm": gemm,
                "peer bf16": lambda: _theirs(peer_half, half, time),
                "bf16": lambda: _ours(ours_half, half, time),
                "gemm bf16": gemm_half,
            },
            ROUNDS,
        )
    return _outcome(ours, seconds, errors, gemm_flops)


def _outcome(model: JointUVit, seconds: dict[str, list[float]], errors: dict[str, float], gemm_flops: float) -> Outcome:
    flops, half = step_flops(model), medians(seconds)
    weights = sum(p.numel() for p in model.parameters())

    def row(what: str, name: str, peer: str, floor: str) -> Row:
        reached = median_ratio([flops / gemm_flops * value for value in seconds[floor]], seconds[name])
        return Row(
            what=what, value=1e3 * half[name], unit="ms", peer=1e3 * half[peer],
            ratio=median_ratio(seconds[peer], seconds[name]), note=f"{100 * reached:.0f} % of the floor's rate",
        )  # fmt: skip

    method = (
        f"Width 768, depth 12, {CONFIG.latent_size} x {CONFIG.latent_size} latents, 77 text tokens, batch {BATCH}: "
        f"{weights / 1e6:.0f} M parameters, {flops / 1e9:.0f} GFLOP and at least {4 * weights / 1e6:.0f} MB (fp32) of "
        "weights read in a step. The floor is one product of (672, 768) with (768, 3072) in the same turns: packed "
        f"oneDNN for fp32, torch's own for bf16. Medians of {ROUNDS} rounds in turns; ratios are medians of rounds. "
        f"Largest relative difference from the peer: fp32 {errors['fp32']:.1e}, packed "
        f"{errors['fp32, packed weights']:.1e}, bf16 {errors['bf16']:.1e} (the peer's own bf16 from its fp32: "
        f"{errors['bf16, peer']:.1e})."
    )
    rates = {name: gemm_flops / half[name] / 1e9 for name in ("gemm", "gemm bf16")}
    return Outcome(
        name="network_step",
        title="A step of the joint U-ViT against diffusers",
        method=method,
        rows=(
            row("fp32", "plain", "peer", "gemm"),
            row("fp32, packed weights", "packed", "peer", "gemm"),
            row("bf16", "bf16", "peer bf16", "gemm bf16"),
            Row(what="floor fp32", value=rates["gemm"], unit="GFLOP/s"),
            Row(what="floor bf16", value=rates["gemm bf16"], unit="GFLOP/s"),
        ),
        details={"seconds": seconds, "errors": errors, "flops": flops, "weights_bytes_fp32": 4 * weights},
    )


def step_flops(model: JointUVit) -> float:
    """Multiplications and additions of one step: linear layers on their tokens, and attention's two products."""
    config, width = model.config, model.config.trunk.width
    tokens = 2 + config.text_tokens + 1 + config.patches
    linear = sum(part.weight.numel() for part in model.trunk.modules() if isinstance(part, nn.Linear))
    attention = (config.trunk.depth + 1) * 4 * tokens**2 * width
    ends = 2 * config.patches * width * config.patch_size**2 * config.latent_channels
    ends += 2 * (config.text_tokens * width * config.text_dim + width * config.picture_dim)
    return float(BATCH * (2 * tokens * linear + attention + 2 * ends))


def _pair() -> tuple[JointUVit, nn.Module]:
    torch.manual_seed(0)
    ours = JointUVit(CONFIG).eval()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    peer = UniDiffuserModel.from_config(joint_json(CONFIG)).eval()
    peer.load_state_dict(to_theirs(joint_table(CONFIG), ours.state_dict()))
    return ours, peer


def _signals() -> Signals:
    size = CONFIG.latent_size
    return Signals(
        torch.randn(BATCH, CONFIG.latent_channels, size, size),
        torch.randn(BATCH, CONFIG.picture_dim),
        torch.randn(BATCH, CONFIG.text_tokens, CONFIG.text_dim),
    )


def _ours(model: JointUVit, signals: Signals, time: Tensor) -> Tensor:
    return model(signals, time, time).latent


def _theirs(model: nn.Module, signals: Signals, time: Tensor) -> Tensor:
    return model(signals.latent, signals.picture.unsqueeze(1), signals.text, time, time)[0]


def _error(a: Tensor, b: Tensor) -> float:
    return float((a.float() - b.float()).abs().max() / b.float().abs().max())


def _gemms() -> tuple:
    x, weight = torch.randn(672, 768), torch.randn(3072, 768)
    packed, x_half, weight_half = pack(weight, 672), x.bfloat16(), weight.bfloat16()
    plain = nn.functional.linear
    fp32 = (lambda: plain(x, weight)) if packed is None else (lambda: packed_linear(x, packed, None))
    return fp32, lambda: plain(x_half, weight_half), float(2 * 672 * 768 * 3072)
