"""Augmentation in front of a discriminator, with a strength that follows how far it overfits.

What the discriminator sees, data and made alike, is moved and recoloured with a probability below one, which the
generator then does not learn to imitate. Pixel moves, geometry and colours are here ("bgc"), the paper's choice;
its filters, noise and cut-outs, which it found not to help, are not.

Source: arXiv:2006.06676, section 3 and appendix B.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bottega.ops import filter_lines, spread

SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633, 0.4910559419267466,
    0.787641141030194, 0.3379294217276218, -0.07263752278646252, -0.021060292512300564, 0.04472490177066578,
    0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip
"""The symlet of six vanishing moments: pictures are moved at twice their side, up and down by this filter."""
_PAD = len(SYM6) // 4
_TURNS = 1.0 / math.sqrt(3.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Moves:
    """How each picture of a batch is moved, in this order; tensors `(batch,)` unless said otherwise.

    Args:
        mirror: 1 to mirror left and right, else 0.
        quarters: Quarter turns, 0 to 3.
        jump: Whole pixels to the right and down, `(batch, 2)`.
        scale: Factor of the size.
        turn: Radians, before stretching.
        stretch: Factor of the width; the height is divided by it.
        turn_after: Radians, after stretching.
        shift: Share of the side to the right and down, `(batch, 2)`.
    """

    mirror: Tensor
    quarters: Tensor
    jump: Tensor
    scale: Tensor
    turn: Tensor
    stretch: Tensor
    turn_after: Tensor
    shift: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Recolouring:
    """How the colours of each picture change, in this order; tensors `(batch,)`.

    Args:
        brightness: Added to every colour.
        contrast: Factor of every colour.
        luma_flip: 1 to reverse light and dark, else 0.
        hue: Radians around the grey axis.
        saturation: Factor of the distance from the grey axis.
    """

    brightness: Tensor
    contrast: Tensor
    luma_flip: Tensor
    hue: Tensor
    saturation: Tensor


def augmented(pictures: Tensor, strength: Tensor, generator: torch.Generator, *, filtered: bool = True) -> Tensor:
    """Moves and recolours a batch.

    Args:
        pictures: `(batch, 3, height, width)`.
        strength: Probability of each change, a scalar in [0, 1].
        generator: Randomness, on the pictures' device.
        filtered: As `moved`.

    Returns:
        The same shape; differentiable in the pictures.
    """
    dice = _Dice(len(pictures), strength, generator, pictures.device)
    side = torch.tensor((pictures.shape[3], pictures.shape[2]), device=pictures.device)
    return recoloured(moved(pictures, _draw_moves(dice, side), filtered=filtered), _draw_recolouring(dice))


def moved(pictures: Tensor, moves: Moves, *, filtered: bool = True) -> Tensor:
    """The moved batch, mirrored at its borders.

    Args:
        pictures: `(batch, channels, height, width)`.
        moves: How.
        filtered: Whether it is moved at twice its side, up and down through the filter, as published; without, it is
            moved by bilinear interpolation, in a tenth of the time, and small pictures come out a little softer.
    """
    height, width = pictures.shape[2:]
    back = _inverse(moves, width, height)
    if not filtered:
        unit = _scale(2 / width, 2 / height, back) @ back @ _scale(width / 2, height / 2, back)
        grid = F.affine_grid(unit[:, :2], list(pictures.shape), align_corners=False).to(pictures.dtype)
        return F.grid_sample(pictures, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    left, right, above, below = _margins(back, width, height)
    padded = F.pad(pictures, (left, right, above, below), mode="reflect")
    back = _shift((left - right) / 2, (above - below) / 2, back) @ back
    taps = torch.tensor(SYM6, device=pictures.device)
    taps = taps / taps.sum()
    fine = filter_lines(spread(padded), 2.0 * taps, (6, 5, 6, 5))
    back = _scale(2.0, 2.0, back) @ back @ _scale(0.5, 0.5, back)
    back = _shift(-0.5, -0.5, back) @ back @ _shift(0.5, 0.5, back)
    target = ((height + 2 * _PAD) * 2, (width + 2 * _PAD) * 2)
    units = _scale(2 / fine.shape[3], 2 / fine.shape[2], back)
    grid_from = units @ back @ _scale(target[1] / 2, target[0] / 2, back)
    grid = F.affine_grid(grid_from[:, :2], [*pictures.shape[:2], *target], align_corners=False)
    turned = F.grid_sample(fine, grid.to(fine.dtype), mode="bilinear", padding_mode="zeros", align_corners=False)
    cut = 5 - 2 * _PAD
    return filter_lines(turned, taps.flip(0), (cut, cut, cut, cut))[:, :, ::2, ::2]


def recoloured(pictures: Tensor, how: Recolouring) -> Tensor:
    """The recoloured batch: one affine map of colours a picture."""
    count, like = len(pictures), how.brightness
    one = torch.eye(4, device=like.device, dtype=like.dtype)
    grey = torch.tensor((_TURNS, _TURNS, _TURNS, 0.0), device=like.device, dtype=like.dtype)
    onto = torch.outer(grey, grey)
    map_ = one.repeat(count, 1, 1)
    map_[:, :3, 3] = how.brightness[:, None]
    contrast = torch.stack((how.contrast, how.contrast, how.contrast, torch.ones_like(like)), dim=1)
    map_ = torch.diag_embed(contrast) @ map_
    map_ = (one - 2 * onto * how.luma_flip[:, None, None]) @ map_
    map_ = _turn_of_hues(how.hue) @ map_
    map_ = (onto + (one - onto) * how.saturation[:, None, None]) @ map_
    flat = pictures.flatten(2)
    return (map_[:, :3, :3].to(flat) @ flat + map_[:, :3, 3:].to(flat)).reshape(pictures.shape)


class AdaptiveStrength(nn.Module):
    """The strength of augmentation: it grows while the discriminator is too sure of the data, else it falls.

    Args:
        target: Mean sign of the scores of data that is aimed at.
        samples: Pictures that it takes from 0 to 1.
        every: Updates between changes.
    """

    strength: Tensor
    signs: Tensor
    seen: Tensor

    def __init__(self, *, target: float = 0.6, samples: int = 500_000, every: int = 4) -> None:
        super().__init__()
        self.target, self.samples, self.every = target, samples, every
        for name in ("strength", "signs", "seen"):
            self.register_buffer(name, torch.zeros(()))

    @torch.no_grad()
    def update(self, real: Tensor, step: int) -> None:
        """Takes the scores of a batch of data `(batch,)`, detached; changes the strength every few steps."""
        self.signs.add_(real.sign().float().sum())
        self.seen.add_(len(real))
        if (step + 1) % self.every == 0:
            direction = (self.signs / self.seen.clamp(min=1) - self.target).sign()
            self.strength.add_(direction * self.seen / self.samples).clamp_(0.0, 1.0)
            self.signs.zero_()
            self.seen.zero_()


class _Dice:
    """Random changes of a batch: each happens with the probability `strength`."""

    def __init__(self, count: int, strength: Tensor, generator: torch.Generator, device: torch.device) -> None:
        self.count, self.strength, self.generator, self.device = count, strength, generator, device

    def unit(self, width: int | None = None) -> Tensor:
        """Uniform in [0, 1), `(batch,)` or `(batch, width)`."""
        shape = (self.count,) if width is None else (self.count, width)
        return torch.rand(shape, generator=self.generator, device=self.device)

    def normal(self, width: int | None = None) -> Tensor:
        """Standard normal, `(batch,)` or `(batch, width)`."""
        shape = (self.count,) if width is None else (self.count, width)
        return torch.randn(shape, generator=self.generator, device=self.device)

    def sometimes(self, value: Tensor, otherwise: float, chance: Tensor | None = None) -> Tensor:
        """The value with a chance, by default the strength; else the other."""
        happens = self.unit() < (self.strength if chance is None else chance)
        happens = happens if value.ndim == 1 else happens[:, None]
        return torch.where(happens, value, torch.full_like(value, otherwise))


def _draw_moves(dice: _Dice, side: Tensor) -> Moves:
    one_of_two = 1 - (1 - dice.strength).clamp(0, 1).sqrt()  # either turn happens: the strength in all
    return Moves(
        mirror=dice.sometimes((dice.unit() * 2).floor(), 0.0),
        quarters=dice.sometimes((dice.unit() * 4).floor(), 0.0),
        jump=(dice.sometimes((dice.unit(2) * 2 - 1) * 0.125, 0.0) * side).round(),
        scale=dice.sometimes((0.2 * dice.normal()).exp2(), 1.0),
        turn=dice.sometimes((dice.unit() * 2 - 1) * math.pi, 0.0, one_of_two),
        stretch=dice.sometimes((0.2 * dice.normal()).exp2(), 1.0),
        turn_after=dice.sometimes((dice.unit() * 2 - 1) * math.pi, 0.0, one_of_two),
        shift=dice.sometimes(0.125 * dice.normal(2), 0.0),
    )


def _draw_recolouring(dice: _Dice) -> Recolouring:
    return Recolouring(
        brightness=dice.sometimes(0.2 * dice.normal(), 0.0),
        contrast=dice.sometimes((0.5 * dice.normal()).exp2(), 1.0),
        luma_flip=dice.sometimes((dice.unit() * 2).floor(), 0.0),
        hue=dice.sometimes((dice.unit() * 2 - 1) * math.pi, 0.0),
        saturation=dice.sometimes(dice.normal().exp2(), 1.0),
    )


def _inverse(moves: Moves, width: int, height: int) -> Tensor:
    """From a place in the result to the place in the picture, about the middle, `(batch, 3, 3)`."""
    like, one = moves.scale, torch.ones_like(moves.scale)
    steps = (
        _scale(1 - 2 * moves.mirror, one, like),
        _turn(math.pi / 2 * moves.quarters),
        _shift(-moves.jump[:, 0], -moves.jump[:, 1], like),
        _scale(1 / moves.scale, 1 / moves.scale, like),
        _turn(moves.turn),
        _scale(1 / moves.stretch, moves.stretch, like),
        _turn(moves.turn_after),
        _shift(-moves.shift[:, 0] * width, -moves.shift[:, 1] * height, like),
    )
    made = steps[0]
    for step in steps[1:]:
        made = made @ step
    return made


def _margins(back: Tensor, width: int, height: int) -> tuple[int, int, int, int]:
    """Mirrored columns and rows that the batch needs: left, right, above, below."""
    x, y = (width - 1) / 2, (height - 1) / 2
    corners = torch.tensor(((-x, -y, 1.0), (x, -y, 1.0), (x, y, 1.0), (-x, y, 1.0)), device=back.device).T
    reached = (back @ corners.to(back))[:, :2].transpose(0, 1).flatten(1)
    most = torch.cat((-reached, reached)).amax(1).cpu()
    extra = most + 2 * _PAD - torch.tensor((x, y, x, y))
    limits = torch.tensor((width - 1, height - 1, width - 1, height - 1), dtype=extra.dtype)
    left, above, right, below = (int(n) for n in extra.clamp(min=0).minimum(limits).ceil())
    return left, right, above, below


def _scale(x: Tensor | float, y: Tensor | float, like: Tensor) -> Tensor:
    return _matrix(like, {(0, 0): x, (1, 1): y})


def _shift(x: Tensor | float, y: Tensor | float, like: Tensor) -> Tensor:
    return _matrix(like, {(0, 2): x, (1, 2): y})


def _turn(angle: Tensor) -> Tensor:
    sine, cosine = angle.sin(), angle.cos()
    return _matrix(angle, {(0, 0): cosine, (0, 1): -sine, (1, 0): sine, (1, 1): cosine})


def _matrix(like: Tensor, entries: dict[tuple[int, int], Tensor | float]) -> Tensor:
    """Unit matrices `(batch, 3, 3)` with some entries."""
    made = torch.eye(3, device=like.device, dtype=like.dtype).repeat(len(like), 1, 1)
    for (row, column), value in entries.items():
        made[:, row, column] = value
    return made


def _turn_of_hues(angle: Tensor) -> Tensor:
    """Turns about the grey axis, `(batch, 4, 4)`."""
    sine, cosine = angle.sin()[:, None, None], angle.cos()[:, None, None]
    axis = _TURNS * torch.ones(3, device=angle.device, dtype=angle.dtype)
    cross = torch.linalg.cross(torch.eye(3, device=angle.device, dtype=angle.dtype), axis.expand(3, 3))
    turn = torch.outer(axis, axis) * (1 - cosine) + torch.eye(3, device=angle.device, dtype=angle.dtype) * cosine
    made = torch.eye(4, device=angle.device, dtype=angle.dtype).repeat(len(angle), 1, 1)
    made[:, :3, :3] = turn + cross * sine
    return made
