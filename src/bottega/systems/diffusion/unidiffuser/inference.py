"""Running UniDiffuser: a request for one of seven modes to pictures or words. The only code that users run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch
from torch import Tensor

from bottega.data import Crop, fit_picture, pictures_to_tensor, read_picture, tensor_to_pictures
from bottega.errors import RequestError
from bottega.results import PicturesResult, WordsResult
from bottega.room import Progress, Report
from bottega.systems.diffusion.unidiffuser.model import UniDiffuser
from bottega.systems.diffusion.unidiffuser.sampling import Conditions, Sampler


class Mode(Enum):
    """What is given and what is made."""

    TEXT_TO_IMAGE = "text-to-image"
    IMAGE_TO_TEXT = "image-to-text"
    JOINT = "joint"
    """A picture and its words, both new."""
    IMAGE = "image"
    """A new picture, without words."""
    TEXT = "text"
    """New words, without a picture."""
    IMAGE_VARIATION = "image-variation"
    """A picture to words, and those to a picture."""
    TEXT_VARIATION = "text-variation"
    """Words to a picture, and that to words."""

    @property
    def takes(self) -> str:
        """What the inputs are."""
        if self in FROM_TEXT:
            return "text"
        return "picture" if self in FROM_PICTURE else "nothing"


FROM_TEXT = frozenset({Mode.TEXT_TO_IMAGE, Mode.TEXT_VARIATION})
FROM_PICTURE = frozenset({Mode.IMAGE_TO_TEXT, Mode.IMAGE_VARIATION})
MAX_ITEMS = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class UniDiffuserRequest:
    """What to make with UniDiffuser."""

    inputs: tuple[str, ...] = ()
    """Prompts, or files of pictures, as the mode needs; none for joint, image and text."""
    mode: Mode = Mode.TEXT_TO_IMAGE
    """What is given and what is made."""
    count: int = 1
    """How many to make of each input, 1 to 256 in all."""
    steps: int = 30
    """Denoising steps, 1 to 1000."""
    guidance: float = 4.0
    """How strongly the condition pulls, 0 to 50; 1 is no guidance."""
    seed: int = 0
    """The same seed makes the same bits, 0 to 2**63 - 1."""

    def __post_init__(self) -> None:
        given = len(self.inputs)
        if self.mode in FROM_TEXT | FROM_PICTURE:
            what = "prompt" if self.mode in FROM_TEXT else "picture"
            if not given:
                raise RequestError(f"mode {self.mode.value} needs at least one {what}, but none was given")
        elif given:
            raise RequestError(f"mode {self.mode.value} takes no inputs, but {given} were given; leave them out")
        if not 1 <= self.count * max(given, 1) <= MAX_ITEMS:
            raise RequestError.of("count", self.count, f"at least 1, and at most {MAX_ITEMS} items in all")
        if not 1 <= self.steps <= 1000:
            raise RequestError.of("steps", self.steps, "between 1 and 1000")
        if not 0.0 <= self.guidance <= 50.0:
            raise RequestError.of("guidance", self.guidance, "between 0 and 50")
        if not 0 <= self.seed < 2**63:
            raise RequestError.of("seed", self.seed, "between 0 and 2**63 - 1")
        if self.mode in FROM_TEXT and any(not text.strip() for text in self.inputs):
            raise RequestError("a prompt is empty; write what the picture should show, or use mode image")


def files(request: UniDiffuserRequest) -> tuple[str, ...]:
    """The files that a request reads."""
    return request.inputs if request.mode in FROM_PICTURE else ()


@torch.inference_mode()
def infer(model: UniDiffuser, request: UniDiffuserRequest, report: Report) -> PicturesResult | WordsResult:
    """Makes what is asked for.

    Args:
        model: The pipeline with its tokenizers.
        request: What to make.
        report: Called after every denoising step; may raise `Cancelled`.

    Raises:
        FileError: If a picture cannot be read.
        WeightsError: If the weights came without tokenizers and texts are needed.
    """
    run = _Run(model, request, report)
    return _MAKERS[request.mode](run)


class _Run:
    """One request on one model: its sampler, and the progress over all its denoising passes."""

    def __init__(self, model: UniDiffuser, request: UniDiffuserRequest, report: Report) -> None:
        self.model, self.request, self.report = model, request, report
        self.sampler = Sampler(model.joint, steps=request.steps, guidance=request.guidance, seed=request.seed)
        passes = 2 if request.mode in (Mode.IMAGE_VARIATION, Mode.TEXT_VARIATION) else 1
        self.total, self.done = passes * request.steps, 0

    def repeated(self) -> tuple[str, ...]:
        """The inputs, each as often as asked for."""
        return tuple(text for text in self.request.inputs for _ in range(self.request.count))

    def text_conditions(self) -> Conditions:
        """The prompts' codes."""
        return Conditions.text(self.model.text_code(self.repeated()))

    def picture_conditions(self) -> Conditions:
        """The pictures' latents and embeddings."""
        size, like = self.model.config.picture_size, self.model.joint.pos_embed
        squares = [fit_picture(read_picture(path), size, how=Crop()) for path in self.request.inputs]
        pictures = pictures_to_tensor(np.stack(squares)).to(like)
        pictures = pictures.repeat_interleave(self.request.count, dim=0)
        return Conditions.picture(self.model.autoencoder.to_latents(pictures), self.model.picture_embedding(pictures))

    def draw_signals(self, conditions: Conditions) -> tuple[Tensor, Tensor]:
        """New latents with their picture embeddings."""
        return self.sampler.pictures(conditions, self._follow(lambda latents: latents))

    def draw_texts(self, conditions: Conditions) -> Tensor:
        """New text codes."""
        return self.sampler.texts(conditions, self._follow(None))

    def draw_both(self) -> tuple[Tensor, Tensor]:
        """New latents with new text codes."""
        return self.sampler.both(self.request.count, self._follow(lambda latents: latents))

    def pictures(self, latents: Tensor, captions: tuple[str, ...] | None) -> PicturesResult:
        """Decodes latents into a result."""
        made = tensor_to_pictures(self.model.autoencoder.from_latents(latents))
        return PicturesResult(pictures=made, captions=captions, seed=self.request.seed, settings=self._settings())

    def words(self, codes: Tensor, sources: Sequence[str] | None) -> WordsResult:
        """Writes codes out into a result."""
        texts = tuple(self.model.write(codes))
        named = None if sources is None else tuple(sources)
        return WordsResult(words=texts, sources=named, seed=self.request.seed, settings=self._settings())

    def _settings(self) -> dict[str, object]:
        return {"mode": self.request.mode.value, "steps": self.request.steps, "guidance": self.request.guidance}

    def _follow(self, show: Callable[[Tensor], Tensor] | None) -> Callable[[Tensor | None], None]:
        """A callback for the sampler that counts steps and offers the first picture as it is so far."""

        def after_step(latents: Tensor | None) -> None:
            self.done += 1
            preview = None
            if show is not None and latents is not None:
                preview = lambda: tensor_to_pictures(self.model.autoencoder.from_latents(latents[:1]))[0]  # noqa: E731
            self.report(Progress(step=self.done, total=self.total, stage="denoise", preview=preview))

        return after_step


def _text_to_image(run: _Run) -> PicturesResult:
    return run.pictures(run.draw_signals(run.text_conditions())[0], run.repeated())


def _image_to_text(run: _Run) -> WordsResult:
    return run.words(run.draw_texts(run.picture_conditions()), run.repeated())


def _joint(run: _Run) -> PicturesResult:
    latents, codes = run.draw_both()
    return run.pictures(latents, tuple(run.model.write(codes)))


def _image(run: _Run) -> PicturesResult:
    return run.pictures(run.draw_signals(Conditions.none(run.request.count))[0], None)


def _text(run: _Run) -> WordsResult:
    return run.words(run.draw_texts(Conditions.none(run.request.count)), None)


def _image_variation(run: _Run) -> PicturesResult:
    codes = run.draw_texts(run.picture_conditions())
    return run.pictures(run.draw_signals(Conditions.text(codes))[0], tuple(run.model.write(codes)))


def _text_variation(run: _Run) -> WordsResult:
    latents, embeddings = run.draw_signals(run.text_conditions())
    return run.words(run.draw_texts(Conditions.picture(latents, embeddings)), run.repeated())


_MAKERS: dict[Mode, Callable[[_Run], PicturesResult | WordsResult]] = {
    Mode.TEXT_TO_IMAGE: _text_to_image,
    Mode.IMAGE_TO_TEXT: _image_to_text,
    Mode.JOINT: _joint,
    Mode.IMAGE: _image,
    Mode.TEXT: _text,
    Mode.IMAGE_VARIATION: _image_variation,
    Mode.TEXT_VARIATION: _text_variation,
}
