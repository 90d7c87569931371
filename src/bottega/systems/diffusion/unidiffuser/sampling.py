"""Drawing signals from the joint predictor, each modality given, absent, or drawn.

Every mode is one denoiser over one packed state `(batch, numbers)`, so that any solver and any guidance of the core
works on it. Source: arXiv:2303.06555, sections 3 and 3.3 (guidance for free from the marginals).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor, nn

from bottega.processes.diffusion import (
    ClassifierFree,
    Denoised,
    Denoiser,
    DpmSolverPp2m,
    Prior,
    Solver,
    Taps,
    TrailingGrid,
)
from bottega.systems.diffusion.unidiffuser.model import JointUVit, Signals, UniDiffuser
from bottega.systems.diffusion.unidiffuser.objective import ABSENT, CLEAN, PATH, clock

AfterStep = Callable[[Tensor | None], None]


@dataclass(frozen=True, slots=True)
class Conditions:
    """What is given to a draw: a text's code, a picture's signals, or nothing, for `count` items."""

    count: int
    code: Tensor | None = None
    latent: Tensor | None = None
    embedding: Tensor | None = None

    @classmethod
    def none(cls, count: int) -> Conditions:
        """Nothing is given."""
        return cls(count)

    @classmethod
    def text(cls, code: Tensor) -> Conditions:
        """Codes `(count, tokens, text_dim)` are given."""
        return cls(len(code), code=code)

    @classmethod
    def picture(cls, latent: Tensor, embedding: Tensor) -> Conditions:
        """Latents and picture embeddings are given."""
        return cls(len(latent), latent=latent, embedding=embedding)


class Sampler:
    """Draws from a joint predictor.

    Args:
        network: The predictor.
        steps: Denoising steps.
        guidance: Scale of classifier-free guidance; 1 is none.
        seed: Item i of a draw depends on the seed and i alone, whatever else is drawn with it.
        solver: How to follow the denoiser.
    """

    def __init__(
        self, network: JointUVit, *, steps: int, guidance: float, seed: int, solver: Solver | None = None
    ) -> None:
        self.network, self.guidance, self.seed = network, guidance, seed
        self.solver = DpmSolverPp2m() if solver is None else solver
        self.times = TrailingGrid(steps)(PATH)
        config = network.config
        self.prediction = config.prediction
        self.latent_shape = (config.latent_channels, config.latent_size, config.latent_size)
        self.picture_shape = (config.picture_dim,)
        self.text_shape = (config.text_tokens, config.text_dim)
        self.device = network.pos_embed.device
        self.dtype = network.pos_embed.dtype

    def pictures(self, given: Conditions, after_step: AfterStep) -> tuple[Tensor, Tensor]:
        """Latents and picture embeddings, given texts or nothing."""
        shapes = (self.latent_shape, self.picture_shape)
        absent = self._noise(self.text_shape, given.count, stream=1)

        def output_of(x: Tensor, t: Tensor, cond: tuple[Tensor, Tensor]) -> Tensor:
            latent, picture = unpack(x, shapes)
            code, text_time = cond
            made = self.network(Signals(latent, picture, code), clock(t), clock(text_time))
            return pack(made.latent, made.picture)

        nothing = (absent, self._times(ABSENT, given.count))
        cond = nothing if given.code is None else (given.code, self._times(CLEAN, given.count))
        denoiser = self._denoiser(output_of, None if given.code is None else nothing)
        state = self._draw(denoiser, shapes, given.count, cond, lambda x0: after_step(unpack(x0, shapes)[0]))
        latent, picture = unpack(state, shapes)
        return latent, picture

    def texts(self, given: Conditions, after_step: AfterStep) -> Tensor:
        """Text codes, given pictures or nothing."""
        shapes = (self.text_shape,)
        latent = self._noise(self.latent_shape, given.count, stream=1)
        picture = self._noise(self.picture_shape, given.count, stream=2)

        def output_of(x: Tensor, t: Tensor, cond: tuple[Tensor, Tensor, Tensor]) -> Tensor:
            (code,) = unpack(x, shapes)
            latent, picture, picture_time = cond
            return pack(self.network(Signals(latent, picture, code), clock(picture_time), clock(t)).text)

        nothing = (latent, picture, self._times(ABSENT, given.count))
        if given.latent is None or given.embedding is None:
            denoiser, cond = self._denoiser(output_of, None), nothing
        else:
            cond = (given.latent, given.embedding, self._times(CLEAN, given.count))
            denoiser = self._denoiser(output_of, nothing)
        state = self._draw(denoiser, shapes, given.count, cond, lambda _: after_step(None))
        return unpack(state, shapes)[0]

    def both(self, count: int, after_step: AfterStep) -> tuple[Tensor, Tensor]:
        """Latents and text codes together. Guidance pushes away from the two marginals."""
        shapes = (self.latent_shape, self.picture_shape, self.text_shape)
        absent = Signals(*(self._noise(shape, count, stream=1 + i) for i, shape in enumerate(shapes)))
        nothing = self._times(ABSENT, count)

        def output_of(x: Tensor, t: Tensor, cond: None) -> Tensor:
            return pack(*self.network(Signals(*unpack(x, shapes)), clock(t), clock(t)).parts())

        def marginal_output_of(x: Tensor, t: Tensor, cond: None) -> Tensor:
            now = Signals(*unpack(x, shapes))
            alone = self.network(replace(now, text=absent.text), clock(t), clock(nothing))
            text = self.network(replace(absent, text=now.text), clock(nothing), clock(t)).text
            return pack(alone.latent, alone.picture, text)

        together = Denoised(output_of, PATH, self.prediction)
        apart = Denoised(marginal_output_of, PATH, self.prediction)

        def guided(x: Tensor, t: float | Tensor, cond: None) -> Tensor:
            if self.guidance == 1.0:
                return together(x, t, cond)
            return torch.lerp(apart(x, t, cond), together(x, t, cond), self.guidance)

        state = self._draw(guided, shapes, count, None, lambda x0: after_step(unpack(x0, shapes)[0]))
        latent, _, code = unpack(state, shapes)
        return latent, code

    def _denoiser(self, output_of: Callable[..., Tensor], nothing: tuple[Tensor, ...] | None) -> Denoiser:
        denoiser = Denoised(output_of, PATH, self.prediction)
        if nothing is None or self.guidance == 1.0:
            return denoiser
        return ClassifierFree(scale=self.guidance, null_cond=nothing)(denoiser)

    def _draw(
        self, denoiser: Denoiser, shapes: tuple[tuple[int, ...], ...], count: int, cond: object, seen: Callable
    ) -> Tensor:
        start = self._noise((sum(map(prod, shapes)),), count, stream=0)
        return self.solver(
            denoiser, start, self.times, PATH, cond=cond, report=lambda step, total, x, x0: seen(x0.to(self.dtype))
        )

    def _noise(self, shape: tuple[int, ...], count: int, *, stream: int) -> Tensor:
        """Standard normal `(count, *shape)`; each item from a generator of its own."""
        rows = []
        for item in range(count):
            generator = torch.Generator().manual_seed(_mixed(self.seed, item, stream))
            rows.append(torch.randn(shape, generator=generator))
        return torch.stack(rows).to(self.device, self.dtype)

    def _times(self, index: float, count: int) -> Tensor:
        return torch.full((count,), index, device=self.device)


class PicturePredictor(nn.Module):
    """What the joint predictor says about a packed picture, given `(code, time of the code)`."""

    def __init__(self, joint: JointUVit) -> None:
        super().__init__()
        self.joint = joint
        config = joint.config
        latent = (config.latent_channels, config.latent_size, config.latent_size)
        self.shapes: tuple[tuple[int, ...], ...] = (latent, (config.picture_dim,))

    def forward(self, x: Tensor, t: Tensor, cond: tuple[Tensor, Tensor]) -> Tensor:
        """The prediction for packed states `x` of shape `(batch, numbers)` at times `t` of shape `(batch,)`."""
        code, text_time = cond
        latent, picture = unpack(x, self.shapes)
        made = self.joint(Signals(latent, picture, code), clock(t), clock(text_time))
        return pack(made.latent, made.picture)


def prior(model: UniDiffuser) -> Prior:
    """UniDiffuser from words to pictures, as rooms see it that work on any diffusion model."""
    network, config = PicturePredictor(model.joint), model.joint.config
    like = model.joint.pos_embed
    noise = torch.randn((1, config.text_tokens, config.text_dim), generator=torch.Generator().manual_seed(0))

    def condition(texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        return model.text_code(texts), torch.full((len(texts),), CLEAN, device=like.device)

    def to_pictures(states: Tensor) -> Tensor:
        return model.autoencoder.from_latents(unpack(states, network.shapes)[0])

    def from_pictures(pictures: Tensor) -> Tensor:
        return pack(model.autoencoder.to_latents(pictures), model.picture_embedding(pictures))

    def maps(tokens: Tensor) -> Tensor:
        rows = config.latent_size // config.patch_size
        return tokens[:, -config.patches :].transpose(1, 2).unflatten(2, (rows, rows))

    trunk = model.joint.trunk
    return Prior(
        network=network,
        path=PATH,
        prediction=config.prediction,
        shape=(sum(map(prod, network.shapes)),),
        to_pictures=to_pictures,
        from_pictures=from_pictures,
        size=model.config.picture_size,
        condition=condition,
        null_cond=(noise.to(like), torch.full((1,), ABSENT, device=like.device)),
        taps=Taps(block=trunk.middle_of_the_way_out, maps=maps, projections=trunk.projections),
    )


def pack(*parts: Tensor) -> Tensor:
    """Tensors of one batch side by side, `(batch, numbers)`."""
    return torch.cat([part.flatten(1) for part in parts], dim=1)


def unpack(state: Tensor, shapes: tuple[tuple[int, ...], ...]) -> tuple[Tensor, ...]:
    """The inverse of `pack`."""
    flat = state.split([prod(shape) for shape in shapes], dim=1)
    return tuple(part.unflatten(1, shape) for part, shape in zip(flat, shapes, strict=True))


def _mixed(seed: int, item: int, stream: int) -> int:
    """One 63-bit seed from three numbers; neighbours are unrelated (the finaliser of splitmix64)."""
    z = (seed * 0x9E3779B97F4A7C15 + item * 0xBF58476D1CE4E5B9 + stream * 0x94D049BB133111EB + 1) & (2**64 - 1)
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
    return (z ^ (z >> 31)) >> 1
