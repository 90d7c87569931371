"""Pictures a second of a DiT of 8 M at 32 pixels, beside the same step on diffusers' network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.dit_step import difference, make_pair, peer_step, signals, step_flops
from benchmarks.measure import Outcome, Row, median_ratio, medians, take_turns
from bottega.networks import DitConfig, as_diffusers
from bottega.training import FitSettings, adamw, decay_groups

BATCH, ROUNDS = 32, 5
CONFIG = as_diffusers(DitConfig(size=32, channels=3, width=256, depth=7, num_heads=4, classes=99, learn_sigma=False))
Network = Callable[[Tensor, Tensor, Tensor], Tensor]


class Peer(nn.Module):
    """diffusers' network under our signature, without its random change of classes."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, time: Tensor, label: Tensor) -> Tensor:
        """The predicted noise."""
        return peer_step(self.network, x, time, label)


def run() -> Outcome:
    """Forward, backward and AdamW in bfloat16 and float32."""
    ours, theirs = make_pair(CONFIG)
    given, peer = signals(CONFIG, BATCH), Peer(theirs)
    with torch.no_grad():
        error = difference(ours(*given), peer(*given))
    assert error < 1e-5, error
    ways = {
        f"{name} {'bf16' if half else 'fp32'}": _step(model, given, half)
        for half in (True, False)
        for name, model in (("peer", peer), ("bottega", ours.train()))
    }
    seconds = take_turns(ways, ROUNDS)
    middle, flops = medians(seconds), 3 * step_flops(CONFIG, BATCH)
    rows = tuple(
        Row(
            what=f"training, {kind}", value=BATCH / middle[f"bottega {kind}"], unit="pictures/s",
            peer=BATCH / middle[f"peer {kind}"],
            ratio=median_ratio(seconds[f"peer {kind}"], seconds[f"bottega {kind}"]),
            note=f"{flops / middle[f'bottega {kind}'] / 1e9:.0f} GFLOP/s",
        )
        for kind in ("bf16", "fp32")
    )  # fmt: skip
    weights = sum(p.numel() for p in ours.parameters()) / 1e6
    method = (
        f"Batch {BATCH}, eager, forward + backward + fused AdamW, 32 x 32 pixels in patches of 2; {weights:.1f} M "
        f"parameters, {flops / 1e9:.0f} GFLOP an update. Outputs agree to {error:.0e} of their size. Medians of "
        f"{ROUNDS} rounds in turns."
    )
    return Outcome(
        name="dit_training", title="Training a DiT of 8 M at 32 pixels", method=method, rows=rows,
        details={"seconds": seconds, "error": error},
    )  # fmt: skip


def _step(model: nn.Module, given: tuple[Tensor, Tensor, Tensor], half: bool) -> Callable[[], None]:
    settings = FitSettings(steps=1, batch_size=BATCH, learning_rate=1e-5)
    optimizer = adamw(decay_groups(model, settings), settings)
    noise = torch.randn(given[0].shape, generator=torch.Generator().manual_seed(2))

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            output = model(*given)
        (output.float() - noise).square().mean().backward()
        optimizer.step()

    return step
