"""Pictures a second of UniDiffuser's joint stage at the tiny size, beside the same step on diffusers' network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers import UniDiffuserModel
from torch import Tensor, nn

from benchmarks.measure import Outcome, Row, median_ratio, medians, take_turns
from bottega.systems.diffusion.unidiffuser.checkpoints import joint_json, joint_table
from bottega.systems.diffusion.unidiffuser.config import PRESETS
from bottega.systems.diffusion.unidiffuser.model import JointUVit, Signals
from bottega.systems.diffusion.unidiffuser.objective import TimeMix, joint_loss
from bottega.training import FitSettings, adamw, decay_groups
from bottega.weights import to_theirs

BATCH, ROUNDS = 64, 7
CONFIG = PRESETS["tiny"].config.joint
Network = Callable[[Signals, Tensor, Tensor], Signals]


class Peer(nn.Module):
    """diffusers' network under our signature."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, noisy: Signals, picture_time: Tensor, text_time: Tensor) -> Signals:
        """The predicted noise."""
        latent, picture, text = self.network(
            noisy.latent, noisy.picture.unsqueeze(1), noisy.text, picture_time, text_time
        )[:3]
        return Signals(latent, picture.squeeze(1), text)


def run() -> Outcome:
    """Forward, backward and AdamW in bfloat16 and float32."""
    torch.manual_seed(0)
    ours = JointUVit(CONFIG)
    theirs = UniDiffuserModel.from_config(joint_json(CONFIG))
    theirs.load_state_dict(to_theirs(joint_table(CONFIG), ours.state_dict()))
    batch = _batch()
    first = [float(_loss(model, batch).detach()) for model in (ours, Peer(theirs))]
    assert abs(first[0] - first[1]) < 1e-4 * first[0], first
    ways = {}
    for half in (True, False):
        for name, model in (("peer", Peer(theirs)), ("bottega", ours)):
            ways[f"{name} {'bf16' if half else 'fp32'}"] = _step(model, batch, half)
    seconds = take_turns(ways, ROUNDS)
    middle = medians(seconds)
    flops = 3 * step_flops(ours)
    rows = tuple(
        Row(
            what=f"training, {kind}", value=BATCH / middle[f"bottega {kind}"], unit="pictures/s",
            peer=BATCH / middle[f"peer {kind}"],
            ratio=median_ratio(seconds[f"peer {kind}"], seconds[f"bottega {kind}"]),
            note=f"{flops / middle[f'bottega {kind}'] / 1e9:.0f} GFLOP/s",
        )
        for kind in ("bf16", "fp32")
    )  # fmt: skip
    method = (
        f"Batch {BATCH}, eager, forward + backward + fused AdamW on signals that are encoded already; "
        f"{sum(p.numel() for p in ours.parameters()) / 1e6:.1f} M parameters, {flops / 1e9:.0f} GFLOP an update. First "
        f"losses agree to {abs(first[0] - first[1]) / first[0]:.0e}. Medians of {ROUNDS} rounds in turns."
    )
    return Outcome(
        name="training_rate", title="Training the tiny UniDiffuser's joint stage", method=method, rows=rows,
        details={"seconds": seconds},
    )  # fmt: skip


def step_flops(model: JointUVit) -> float:
    """FLOPs of a forward pass over the batch, in the trunk's linear layers and attention."""
    config, width = model.config, model.config.trunk.width
    tokens = 2 + config.text_tokens + 1 + config.patches
    linear = sum(part.weight.numel() for part in model.trunk.modules() if isinstance(part, nn.Linear))
    return float(BATCH * (2 * tokens * linear + (config.trunk.depth + 1) * 4 * tokens**2 * width))


def _batch() -> tuple[Signals, Signals, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    size = CONFIG.latent_size
    shapes = ((CONFIG.latent_channels, size, size), (CONFIG.picture_dim,), (CONFIG.text_tokens, CONFIG.text_dim))
    clean, noise = (Signals(*(torch.randn(BATCH, *shape, generator=generator) for shape in shapes)) for _ in range(2))
    return clean, noise, *TimeMix().draw(BATCH, generator)


def _loss(model: Network, batch: tuple[Signals, Signals, Tensor, Tensor]) -> Tensor:
    return joint_loss(model, *batch, prediction=CONFIG.prediction)["loss"]


def _step(model: nn.Module, batch: tuple[Signals, Signals, Tensor, Tensor], half: bool) -> Callable[[], None]:
    settings = FitSettings(steps=1, batch_size=BATCH, learning_rate=1e-5)
    optimizer = adamw(decay_groups(model, settings), settings)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            loss = _loss(model, batch)
        loss.backward()
        optimizer.step()

    return step
