"""StyleGAN2 at 256 pixels, and an iteration of a drag in it, against the reference formulation.

The official code may not be installed or kept here (NVIDIA's source licence), so the peer is written plainly from its
description: a kernel of its own for every sample, applied by one grouped convolution over the whole batch; low-pass
filters as convolutions by channel; pictures in torch's default memory; gradients of every parameter in a drag, whose
feature map is resized to the picture and whose graph covers the picture. The official CPU path does the same.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.measure import Outcome, Row, median_ratio, medians, take_turns
from bottega.networks import StyleGan2Config, StyleGan2Generator
from bottega.networks.stylegan2 import StyledConv, SynthesisBlock, ToPicture
from bottega.processes.dragging import DragSession
from bottega.systems.image.draggan.config import PRESETS
from bottega.systems.image.draggan.sampling import GanCanvas, drag_settings

ROUNDS = 7
CONFIG = PRESETS["256"].config


def run() -> Outcome:
    """Forward passes of one and four pictures, and an iteration of a drag, ours and the peer's in turns."""
    torch.manual_seed(0)
    generator = StyleGan2Generator(CONFIG.network).eval()
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    one, four = torch.randn(1, CONFIG.network.styles, 512), torch.randn(4, CONFIG.network.styles, 512)
    with torch.no_grad():
        made = generator.synthesis(four)
        error = float((made - reference(generator, four)[0]).abs().max() / made.abs().max())
        assert error < 1e-4, error
    ours, theirs = _our_drag(generator, one), _their_drag(generator, one)
    ways = {
        "peer 1": lambda: _plain(generator, one),
        "1": lambda: _drawn(generator, one),
        "peer 4": lambda: _plain(generator, four),
        "4": lambda: _drawn(generator, four),
        "peer drag": theirs,
        "drag": ours,
        "floor": _floor(),
    }
    return _outcome(take_turns(ways, ROUNDS), error)


def reference(generator: StyleGan2Generator, styles: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Pictures and feature maps by the reference formulation."""
    x, picture, maps = None, None, []
    for number, block in enumerate(generator.synthesis.blocks):
        assert isinstance(block, SynthesisBlock)
        part = styles[:, max(2 * number - 1, 0) : 2 * number + 2]
        if x is None or block.up is None:
            x = block.const.expand(len(styles), -1, -1, -1)
        else:
            x = _styled(block.up, x, part[:, 0])
        x = _styled(block.conv, x, part[:, -2])
        colours = _coloured(block.to_picture, x, part[:, -1])
        picture = colours if picture is None else _raised(picture) + colours
        maps.append(x)
    assert picture is not None
    return picture, maps


def _styled(layer: StyledConv, x: Tensor, style: Tensor) -> Tensor:
    count, kernel = len(x), layer.weight[None] * layer.affine(style)[:, None, :, None, None]
    kernel = kernel * (kernel.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    flat = x.reshape(1, -1, *x.shape[2:])
    if layer.up:
        turned = kernel.transpose(1, 2).flatten(0, 1)
        made = _filtered(F.conv_transpose2d(flat, turned, stride=2, groups=count), 4.0)
    else:
        made = F.conv2d(flat, kernel.flatten(0, 1), padding=1, groups=count)
    made = made.reshape(count, -1, *made.shape[2:]) + layer.noise * layer.noise_strength
    active = F.leaky_relu(made + layer.bias[:, None, None], 0.2) * math.sqrt(2)
    return active if layer.clamp is None else active.clamp(-layer.clamp, layer.clamp)


def _coloured(layer: ToPicture, x: Tensor, style: Tensor) -> Tensor:
    kernel = (layer.weight[None] * (layer.affine(style) * layer.gain)[:, None, :, None, None]).flatten(0, 1)
    made = F.conv2d(x.reshape(1, -1, *x.shape[2:]), kernel, groups=len(x)).reshape(len(x), -1, *x.shape[2:])
    made = made + layer.bias[:, None, None]
    return made if layer.clamp is None else made.clamp(-layer.clamp, layer.clamp)


def _filtered(x: Tensor, gain: float, padding: int = 1) -> Tensor:
    line = torch.tensor((1.0, 3.0, 3.0, 1.0)) / 8
    return F.conv2d(F.pad(x, (padding,) * 4), gain * torch.outer(line, line).expand(x.shape[1], 1, 4, 4),
                    groups=x.shape[1])  # fmt: skip


def _raised(picture: Tensor) -> Tensor:
    """A picture at twice its side: zeros between its pixels, then the filter."""
    count, colours, side, _ = picture.shape
    wide = F.pad(picture[:, :, :, None, :, None], (0, 1, 0, 0, 0, 1)).reshape(count, colours, 2 * side, 2 * side)
    return _filtered(F.pad(wide, (2, 1, 2, 1)), 4.0, padding=0)


@torch.no_grad()
def _drawn(generator: StyleGan2Generator, styles: Tensor) -> Tensor:
    return generator.synthesis(styles)


@torch.no_grad()
def _plain(generator: StyleGan2Generator, styles: Tensor) -> Tensor:
    return reference(generator, styles)[0]


def _our_drag(generator: StyleGan2Generator, styles: Tensor):  # noqa: ANN202 - a way for `take_turns`
    canvas = GanCanvas(generator, CONFIG, styles)
    session = DragSession(canvas, canvas.latent, drag_settings(CONFIG))
    session.place([(100.0, 100.0)], [(250.0, 100.0)])

    def step() -> Tensor:
        session.retarget([(250.0, 100.0)])
        return session.step().picture()

    return step


def _their_drag(generator: StyleGan2Generator, styles: Tensor):  # noqa: ANN202 - a way for `take_turns`
    size, count = CONFIG.network.resolution, CONFIG.dragged_styles
    latent = styles[:, :count].clone().requires_grad_()
    adam = torch.optim.Adam([latent], lr=CONFIG.rate)
    first = F.interpolate(reference(generator, styles)[1][5].detach(), (size, size), mode="bilinear")[0, :, 100, 100]
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")

    def step() -> Tensor:
        picture, maps = reference(generator, torch.cat((latent, styles[:, count:]), dim=1))
        features = F.interpolate(maps[5], (size, size), mode="bilinear")
        window = features.detach()[0, :, 94:107, 94:107]
        place = int((window - first[:, None, None]).norm(dim=0).argmin())
        y, x = 94 + place // 13, 94 + place % 13
        there = ((rows - y) ** 2 + (columns - x) ** 2).sqrt() < 2
        ys, xs = rows[there], columns[there]
        grid = torch.stack((xs + 1.0, ys.float()), dim=-1) / (size - 1) * 2 - 1
        ahead = F.grid_sample(features, grid[None, None], align_corners=True)[:, :, 0]
        loss = F.l1_loss(ahead, features.detach()[:, :, ys, xs])
        adam.zero_grad()
        generator.zero_grad()
        loss.backward()
        adam.step()
        return picture.detach()

    return step


def _floor():  # noqa: ANN202 - a way for `take_turns`
    """One convolution of the network in its best memory."""
    x, weight = torch.randn(1, 128, 128, 128), torch.randn(128, 128, 3, 3)
    x, weight = (t.contiguous(memory_format=torch.channels_last) for t in (x, weight))
    return lambda: F.conv2d(x, weight, padding=1)


FLOOR_FLOPS = 2.0 * 9 * 128 * 128 * 128 * 128


def forward_flops(config: StyleGan2Config) -> float:
    """Multiplications and additions of the convolutions of one picture."""
    total = 0
    for side in config.sides:
        here = config.channels(side)
        total += 9 * here * here * side**2 + here * config.picture_channels * side**2
        if side > 4:
            total += 9 * config.channels(side // 2) * here * (side // 2) ** 2 + 16 * here * side**2
    return 2.0 * total


def _outcome(seconds: dict[str, list[float]], error: float) -> Outcome:
    half, flops = medians(seconds), forward_flops(CONFIG.network)

    def row(what: str, name: str, pictures: int, work: float) -> Row:
        reached = median_ratio([work / FLOOR_FLOPS * value for value in seconds["floor"]], seconds[name])
        ratio = median_ratio(seconds[f"peer {name}"], seconds[name])
        return Row(
            what=what, value=1e3 * half[name] / pictures, unit="ms", peer=1e3 * half[f"peer {name}"] / pictures,
            ratio=ratio, note=f"{100 * reached:.0f} % of the floor's rate",
        )  # fmt: skip

    method = (
        f"Configuration F at 256 pixels, random weights, fp32: {flops / 1e9:.1f} GFLOP a picture. The peer is the "
        "reference formulation, written plainly in this file (per-sample kernels, grouped convolutions), because the "
        f"official code may not be installed here; largest relative difference {error:.1e}. A drag's iteration: "
        "feature map, tracking, loss, gradient in the first six styles, one step of Adam, and the picture to show. The "
        "floor is one channels-last convolution of 128 channels at 128 x 128, counted without what its backward needs. "
        f"Medians of {ROUNDS} rounds in turns."
    )
    return Outcome(
        name="stylegan2_drag",
        title="StyleGAN2 at 256 pixels and a drag in it against the reference formulation",
        method=method,
        rows=(
            row("forward, one picture", "1", 1, flops),
            row("forward, each of four", "4", 4, 4 * flops),
            row("iteration of a drag", "drag", 1, 2 * flops),
            Row(what="floor", value=FLOOR_FLOPS / half["floor"] / 1e9, unit="GFLOP/s"),
        ),
        details={"seconds": seconds, "error": error, "flops": flops},
    )
