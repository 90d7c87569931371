"""Running the methods on text and pictures. The only code that users run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bottega.data import Pad, fit_picture, pictures_to_tensor, read_picture
from bottega.errors import RequestError
from bottega.networks import merged_counts, merged_vit
from bottega.processes.decoding import Sampling
from bottega.results import PicturesResult, WordsResult
from bottega.room import Progress, Report
from bottega.systems.language.kv_compression.config import WORDS
from bottega.systems.language.kv_compression.model import KvCompression, Reader
from bottega.systems.language.kv_compression.sampling import Method, Policy, full_bytes, withdrawal, write_kept
from bottega.training import draw_generators

MOST_INPUTS = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class KvCompressionRequest:
    """What is read or continued, and what is left out meanwhile."""

    inputs: tuple[str, ...] = ()
    """Texts to continue; files of pictures for tome and vtw. At most 32."""
    method: Method = Method.STREAMING
    """What is left out."""
    budget: int = 64
    """For window, streaming and h2o: most tokens that are held, 1 or more."""
    sinks: int = 4
    """For streaming: first tokens that are kept, 0 or more and below the budget."""
    recent: int | None = None
    """For h2o: last tokens that stay in any case, 1 up to the budget. Left out: half of it."""
    kv_heads: int = 1
    """For gqa: key and value heads that are left; divides those of the model."""
    merged: int = 6
    """For tome: pairs of patches that become one in every block, 0 or more."""
    layer: int | None = None
    """For vtw: blocks of the decoder that see the picture, 0 or more. Left out: as many as the divergence of answers
    asks for."""
    max_new_tokens: int = 96
    """Most tokens that are written behind each text, 1 or more. Window and streaming go on beyond the context."""
    temperature: float = 0.0
    """0 takes the likeliest token each time; 1 draws tokens as often as the model expects them."""
    seed: int = 0
    """The same seed writes the same words, 0 to 2**31 - 1."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.inputs) <= MOST_INPUTS:
            raise RequestError.of("the number of inputs", len(self.inputs), f"1 to {MOST_INPUTS}")
        for name, low in (
            ("budget", 1), ("sinks", 0), ("kv_heads", 1), ("merged", 0), ("max_new_tokens", 1), ("seed", 0),
        ):  # fmt: skip
            if getattr(self, name) < low:
                raise RequestError.of(name, getattr(self, name), f"{low} or more")
        if self.layer is not None and self.layer < 0:
            raise RequestError.of("layer", self.layer, "0 or more")
        if self.method is Method.STREAMING and self.sinks >= self.budget:
            raise RequestError.of("sinks", self.sinks, f"0 to {self.budget - 1}, below the budget")
        if self.recent is not None and not 1 <= self.recent <= self.budget:
            raise RequestError.of("recent", self.recent, f"1 to {self.budget}, the budget")
        Sampling(temperature=self.temperature)

    @property
    def policy(self) -> Policy:
        """What of a text is kept."""
        return Policy(
            method=self.method, budget=self.budget, sinks=self.sinks, recent=self.recent, kv_heads=self.kv_heads
        )


def files(request: KvCompressionRequest) -> tuple[str, ...]:
    """The files that a request reads."""
    return request.inputs if request.method.takes == "picture" else ()


@torch.inference_mode()
def infer(model: KvCompression, request: KvCompressionRequest, report: Report) -> WordsResult | PicturesResult:
    """Continues texts or reads pictures while something is left out.

    Args:
        model: The room with its language model.
        request: What to do.
        report: Called after every token or picture; may raise `Cancelled`.

    Returns:
        Words; for token merging the pictures as the decoder saw them, with what it said. The settings say what was
        held, and what would have been held.

    Raises:
        FileError: A picture cannot be read.
        RequestError: A number that the model cannot work with.
        WeightsError: No language model, or one without a tokenizer.
    """
    match request.method:
        case Method.TOME:
            return _merged(model.eyes, request, report)
        case Method.VTW:
            return _withdrawn(model.eyes, request, report)
        case _:
            return _written(model, request, report)


def _written(model: KvCompression, request: KvCompressionRequest, report: Report) -> WordsResult:
    network, tokens = model.network, model.target.tokens
    generators, words, total = draw_generators(request.seed, len(request.inputs)), list[str](), 0
    held, full, passes = 0, 0, 0
    total = len(request.inputs) * request.max_new_tokens
    for row, text in enumerate(request.inputs):
        steps = write_kept(
            network, tokens.ids(text, start=True), request.policy, most=request.max_new_tokens, end=tokens.end,
            sampling=Sampling(temperature=request.temperature), generator=generators[row],
        )  # fmt: skip
        made = None
        for made in steps:
            step = row * request.max_new_tokens + len(made.tokens)
            report(Progress(step=step, total=total, stage=request.method.value))
        if made is not None:
            words.append(tokens.text([token for token in made.tokens if token != tokens.end]))
            held, full = held + made.bytes, full + full_bytes(network, made.seen)
            passes += made.passes
    settings = {"method": request.method.value, "bytes_held": held, "bytes_of_all": full, "passes": passes}
    return WordsResult(words=tuple(words), sources=request.inputs, seed=request.seed, settings=settings)


def _pictures(reader: Reader, inputs: Sequence[str]) -> Tensor:
    size = reader.config.tower.size
    squares = [fit_picture(read_picture(name), size, how=Pad()) for name in inputs]
    return pictures_to_tensor(np.stack(squares)).to(reader.bridge.weight)


def _said(words: Tensor) -> tuple[str, ...]:
    return tuple(", ".join(WORDS[number] for number in row) for row in words.tolist())


def _merged(reader: Reader, request: KvCompressionRequest, report: Report) -> PicturesResult:
    pictures = _pictures(reader, request.inputs)
    said = _said(reader.read(pictures, merged=request.merged))
    owners = merged_vit(reader.tower, pictures, request.merged).owners[:, 1:]
    config = reader.config.tower
    counts = merged_counts(1 + owners.shape[1], request.merged, config.depth)
    report(Progress(step=1, total=1, stage="merge"))
    settings = {"method": "tome", "merged": request.merged, "tokens": counts[0], "tokens_left": counts[-1]}
    return PicturesResult(
        pictures=mosaic(pictures, owners, config.patch_size), captions=said, seed=request.seed, settings=settings
    )


def mosaic(pictures: Tensor, owners: Tensor, patch_size: int) -> np.ndarray:
    """Every patch painted with the mean of the patches that it was merged with.

    Args:
        pictures: `(batch, 3, size, size)` in [-1, 1].
        owners: Which token each patch went into, `(batch, patches)`.
        patch_size: Side of a patch.

    Returns:
        uint8 `(batch, size, size, 3)`.
    """
    side = pictures.shape[-1] // patch_size
    patches = pictures.float().unfold(2, patch_size, patch_size).unfold(3, patch_size, patch_size)
    patches = patches.permute(0, 2, 3, 4, 5, 1).flatten(1, 2).flatten(2)  # (batch, patches, pixels * 3)
    same = (owners[:, :, None] == owners[:, None]).float()
    means = (same / same.sum(-1, keepdim=True)) @ patches
    blocks = means.unflatten(2, (patch_size, patch_size, 3)).unflatten(1, (side, side))
    whole = blocks.permute(0, 1, 3, 2, 4, 5).flatten(1, 2).flatten(2, 3)
    return ((whole + 1) * 127.5).round().clamp(0, 255).byte().cpu().numpy()


def _withdrawn(reader: Reader, request: KvCompressionRequest, report: Report) -> WordsResult:
    pictures, depth = _pictures(reader, request.inputs), reader.config.decoder.depth
    layer = withdrawal(reader, request.seed)[0] if request.layer is None else request.layer
    if layer > depth:
        raise RequestError.of("layer", layer, f"0 to {depth}, the blocks of the decoder")
    said = _said(reader.read(pictures, layer=layer))
    report(Progress(step=1, total=1, stage="read"))
    settings = {"method": "vtw", "layer": layer, "layers": depth}
    return WordsResult(words=said, sources=request.inputs, seed=request.seed, settings=settings)
