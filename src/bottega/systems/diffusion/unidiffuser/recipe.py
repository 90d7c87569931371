"""How UniDiffuser learns: the autoencoder, then the two towers and the caption decoder, then the joint diffusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from bottega.data import Crop, fit_picture, pictures_to_tensor
from bottega.networks import clip_normalise, contrastive_loss
from bottega.room import Stage
from bottega.systems.diffusion.unidiffuser.model import Signals, UniDiffuser
from bottega.systems.diffusion.unidiffuser.objective import TimeMix, autoencoder_loss, caption_loss, joint_loss
from bottega.tokenizers import BpeTokenizer
from bottega.training import Cosine, FitSettings, Optimizer, Precision, TrainState, decay_groups, descend


class Pair(Protocol):
    """A picture with words."""

    @property
    def picture(self) -> np.ndarray:
        """uint8 `(height, width, 3)`."""
        ...

    @property
    def caption(self) -> str:
        """What the picture shows."""
        ...


class Pairs(Protocol):
    """A source of pictures with words: a world, or a folder of the user's."""

    def __len__(self) -> int: ...

    def sample(self, index: int) -> Pair:
        """The pair at an index below the length."""
        ...


def load_pictures(pairs: Sequence[Pair], size: int) -> Tensor:
    """Pictures cropped and scaled to squares, `(batch, 3, size, size)` in [-1, 1]."""
    squares = np.stack([fit_picture(pair.picture, size, how=Crop()) for pair in pairs])
    return pictures_to_tensor(squares)


class AutoencoderRecipe:
    """Stage 1: pictures to latents and back."""

    def __init__(self, model: UniDiffuser, source: Pairs) -> None:
        self.model = model.autoencoder
        self.size = model.config.picture_size
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Tensor:
        """Pictures `(batch, 3, size, size)`."""
        return load_pictures([self.source.sample(index) for index in indices], self.size)

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        """Kernels with decay, vectors without."""
        return decay_groups(self.model, settings)

    def step(self, state: TrainState, batch: Tensor) -> Mapping[str, float | Tensor]:
        """One update of the reconstruction."""
        return descend(state, batch, lambda part: autoencoder_loss(self.model, part, state.generator))

    @torch.no_grad()
    def finish(self) -> None:
        """Moves and scales the latents so that each channel has mean 0 and deviation 1, changing no reconstruction."""
        pictures = load_pictures([self.source.sample(index) for index in range(min(512, len(self.source)))], self.size)
        gaussian = self.model.encode(pictures.to(next(self.model.parameters()).device))
        mean, std = gaussian.mean.mean((0, 2, 3)), gaussian.mean.std((0, 2, 3))
        channels = len(mean)
        into, out = self.model.to_moments, self.model.from_latent
        into_bias, out_bias = into.get_parameter("bias"), out.get_parameter("bias")
        out_bias += (out.weight[:, :, 0, 0] * mean).sum(1)
        out.weight *= std[None, :, None, None]
        into.weight[:channels] /= std[:, None, None, None]
        into_bias[:channels] = (into_bias[:channels] - mean) / std
        into_bias[channels:] -= 2 * std.log()


@dataclass(frozen=True, slots=True)
class WordBatch:
    """Pictures `(batch, 3, size, size)` in [-1, 1] and token ids `(batch, context)`."""

    pictures: Tensor
    tokens: Tensor


class Words(nn.Module):
    """What stage 2 trains: both CLIP towers, the map that compares them, and the caption decoder."""

    def __init__(self, model: UniDiffuser) -> None:
        super().__init__()
        self.text, self.vision, self.caption = model.text, model.vision, model.caption
        self.compare = nn.Linear(model.config.text.width, model.config.vision.embedding, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(2.6593))  # the published start: a factor of 14.3

    def forward(self, batch: WordBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """The losses of a batch: matching texts with pictures, and writing out a text from its noisy code."""
        states = self.text(batch.tokens)
        pictures = self.vision(clip_normalise(batch.pictures))
        match = contrastive_loss(self.compare(self.text.pool(states, batch.tokens)), pictures, self.log_scale)
        code = self.caption.encode_prefix(states)
        spread = code.detach().float().std((0, 1)).to(code)
        noise = torch.randn(code.shape, generator=generator, device=code.device, dtype=torch.float32).to(code)
        targets = batch.tokens[:, 1:]  # the decoder writes no start token
        logits = self.caption(code + 0.2 * spread * noise, targets)
        write = caption_loss(logits, targets, self.text.config.end_token)
        return {"loss": match + write, "match": match, "write": write}


class WordsRecipe:
    """Stage 2: texts and pictures into one space, and texts through the narrow code."""

    def __init__(self, model: UniDiffuser, source: Pairs) -> None:
        self.source = source
        self.size = model.config.vision.size
        self.pipeline = model
        if model.text_tokenizer is None:
            texts = (source.sample(index).caption for index in range(min(20_000, len(source))))
            model.text_tokenizer = BpeTokenizer.trained(texts, model.config.text.vocabulary)
            model.caption_tokenizer = model.text_tokenizer
        self.model = Words(model)

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> WordBatch:
        """Pictures and their tokens."""
        pairs = [self.source.sample(index) for index in indices]
        tokens = self.pipeline.tokenize([pair.caption for pair in pairs]).cpu()
        return WordBatch(load_pictures(pairs, self.size), tokens)

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        """Matrices with decay, vectors and embeddings without."""
        return decay_groups(self.model, settings, lambda name, _: "embed" in name)

    def step(self, state: TrainState, batch: WordBatch) -> Mapping[str, float | Tensor]:
        """One update of both losses."""
        return descend(state, batch, lambda part: self.model(part, state.generator))

    @torch.no_grad()
    def finish(self) -> None:
        """Moves and scales codes and picture embeddings to unit deviation, changing no text and no comparison."""
        pairs = [self.source.sample(index) for index in range(min(2048, len(self.source)))]
        pipeline, caption = self.pipeline, self.pipeline.caption
        code = pipeline.text_code([pair.caption for pair in pairs])
        mean, std = code.mean((0, 1)), code.std((0, 1))
        into, out = caption.encode_prefix, caption.decode_prefix
        out.bias.add_(out.weight @ mean)
        out.weight *= std
        into.weight /= std[:, None]
        into.bias.copy_((into.bias - mean) / std)
        pictures = load_pictures(pairs[:512], self.size).to(std.device)
        pipeline.vision.projection.weight /= pipeline.picture_embedding(pictures).std()


class SignalStore:
    """Signals of many pairs, encoded once: what the diffusion trains on.

    Args:
        model: The pipeline; its autoencoder, towers and caption bottleneck are used, without gradients.
        source: The pairs.
        limit: Most pairs to encode.
    """

    def __init__(self, model: UniDiffuser, source: Pairs, limit: int) -> None:
        self.length = min(limit, len(source))
        latents, pictures, texts = [], [], []
        device = next(model.parameters()).device
        for start in range(0, self.length, 64):
            pairs = [source.sample(index) for index in range(start, min(start + 64, self.length))]
            batch = load_pictures(pairs, model.config.picture_size).to(device)
            with torch.no_grad():
                latents.append(model.autoencoder.to_latents(batch).half().cpu())
                pictures.append(model.picture_embedding(batch).half().cpu())
                texts.append(model.text_code([pair.caption for pair in pairs]).half().cpu())
        self.signals = Signals(torch.cat(latents), torch.cat(pictures), torch.cat(texts))

    def rows(self, indices: Sequence[int]) -> Signals:
        """The signals of these pairs, float32."""
        chosen = torch.tensor(list(indices))
        return Signals(*(part[chosen].float() for part in self.signals.parts()))


@dataclass(frozen=True, slots=True)
class JointBatch:
    """Clean signals, the noise to add, and the time indices of both modalities."""

    clean: Signals
    noise: Signals
    picture_time: Tensor
    text_time: Tensor


class JointRecipe:
    """Stage 3: the joint diffusion over signals.

    Args:
        model: The pipeline, its other parts trained.
        source: The pairs.
        mix: How often each pair of times is trained.
        limit: Most pairs to encode before training.
    """

    def __init__(self, model: UniDiffuser, source: Pairs, mix: TimeMix, limit: int = 32_768) -> None:
        self.model = model.joint
        self.mix = mix
        self.store = SignalStore(model, source, limit)

    def __len__(self) -> int:
        return self.store.length

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> JointBatch:
        """Signals, noise and times."""
        clean = self.store.rows(indices)
        noise = Signals(*(torch.randn(part.shape, generator=generator) for part in clean.parts()))
        return JointBatch(clean, noise, *self.mix.draw(len(clean), generator))

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        """Matrices with decay, vectors and positions without."""
        return decay_groups(self.model, settings, lambda name, _: name.endswith("pos_embed"))

    def step(self, state: TrainState, batch: JointBatch) -> Mapping[str, float | Tensor]:
        """One update of the prediction."""
        return descend(
            state,
            batch,
            self._loss,
        )

    def _loss(self, part: JointBatch) -> dict[str, Tensor]:
        times, prediction = (part.picture_time, part.text_time), self.model.config.prediction
        return joint_loss(self.model, part.clean, part.noise, *times, prediction=prediction)


SEVEN_MODES = TimeMix(
    any_pair=0.05, text_to_picture=0.45, picture_to_text=0.2, together=0.15, picture_alone=0.1, text_alone=0.05
)


def joint_recipe(model: UniDiffuser, source: Pairs) -> JointRecipe:
    """The joint stage on the times that the seven modes use."""
    return JointRecipe(model, source, SEVEN_MODES)


STAGES = (
    Stage(
        name="autoencoder",
        recipe=AutoencoderRecipe,
        settings=FitSettings(
            steps=4400, batch_size=8, learning_rate=2e-3, warmup_steps=100, schedule=Cosine(final=0.02),
            weight_decay=0.0, betas=(0.9, 0.99), precision=Precision.BF16, ema_decay=0.995,
        ),
    ),
    Stage(
        name="words",
        recipe=WordsRecipe,
        settings=FitSettings(
            steps=1600, batch_size=128, learning_rate=2e-3, warmup_steps=100, schedule=Cosine(final=0.02),
            weight_decay=0.05, betas=(0.9, 0.98), precision=Precision.BF16, ema_decay=0.998,
        ),
    ),
    Stage(
        name="joint",
        recipe=joint_recipe,
        settings=FitSettings(
            steps=12_000, batch_size=64, learning_rate=1e-3, warmup_steps=200, schedule=Cosine(final=0.02),
            weight_decay=0.03, betas=(0.9, 0.99), precision=Precision.BF16, ema_decay=0.999, compile=True,
            optimizer=Optimizer.MUON,
        ),
        finetune=True,
    ),
)  # fmt: skip
