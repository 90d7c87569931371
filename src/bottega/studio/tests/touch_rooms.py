"""Small systems that really work: one segments what has one colour, one finds a colour, one draws a ball to drag."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bottega.catalog import Ready
from bottega.errors import RequestError
from bottega.ops import label_regions
from bottega.processes.dragging import (
    DragSession,
    DragSettings,
    Drawn,
    Given,
    NearestFeature,
    Start,
    Told,
    View,
    Worded,
)
from bottega.processes.segmentation import (
    INSIDE,
    OUTSIDE,
    Embedding,
    Example,
    Frame,
    Likeness,
    Prompts,
    Segments,
    rough_mask,
)
from bottega.results import WeightsOrigin
from bottega.room import Card, Preset, System
from bottega.studio.tests.gradient_room import GradientRequest, infer

SIDE = 256
SIZE = 64


class Flood:
    """Segments regions of one colour: whole with all that touches it, the region, and its middle."""

    low_res_side = SIDE
    encoded = 0

    def encode(self, picture: np.ndarray) -> Embedding:
        self.encoded += 1
        coarse = picture.astype(np.int64) // 64
        colours = coarse[..., 0] * 16 + coarse[..., 1] * 4 + coarse[..., 2]
        labels = np.zeros(colours.shape, dtype=np.int64)
        for colour in np.unique(colours):
            found, _ = label_regions(colours == colour)
            labels = np.where(found > 0, found + labels.max(), labels)
        return Embedding(torch.from_numpy(labels)[None], Frame(*labels.shape, SIDE))

    def prompt(self, embedding: Embedding, prompts: Prompts, *, multimask: bool = True) -> Segments:
        labels = embedding.features[0].numpy()
        background = labels[0, 0]
        mask = np.zeros(labels.shape, dtype=bool)
        if prompts.masks is not None:
            mask |= embedding.frame.from_square(prompts.masks)[0].numpy() > 0
        if prompts.boxes is not None:
            left, top, right, bottom = (int(round(edge)) for edge in prompts.boxes[0].tolist())
            inside = np.zeros(labels.shape, dtype=bool)
            inside[top:bottom, left:right] = True
            for label in np.unique(labels[inside]):
                region = labels == label
                if label != background and (region & inside).sum() > 0.9 * region.sum():
                    mask |= region
        if prompts.points is not None and prompts.labels is not None:
            for (x, y), kind in zip(prompts.points[0].tolist(), prompts.labels[0].tolist(), strict=True):
                region = labels == labels[int(y), int(x)]
                mask = (mask | region) if kind == INSIDE else (mask & ~region) if kind == OUTSIDE else mask
        whole = np.isin(labels, [label for label in np.unique(labels[_near(mask)]) if label != background])
        answers = [mask] if not multimask else [whole | mask, mask, ~_near(~mask)]
        scores = [0.95] if not multimask else [0.71, 0.93, 0.4]
        logits = torch.cat([rough_mask(answer, SIDE) for answer in answers])
        return Segments(low_res_logits=logits[None], scores=torch.tensor([scores]), frame=embedding.frame)

    def read(self, texts: tuple[str, ...]) -> Tensor:
        raise RequestError.of("text", "; ".join(texts), "left out: this one knows colours only")


def _near(mask: np.ndarray) -> np.ndarray:
    """The mask with all pixels up to three away from it."""
    wide = np.pad(mask, 3)
    height, width = mask.shape
    shifts = [wide[y : y + height, x : x + width] for y in range(7) for x in range(7)]
    return np.logical_or.reduce(shifts)


class Hue:
    """Finds pixels of the colour that examples mark; in a film, the colour of the frame before counts as well."""

    def find(self, examples: tuple[Example, ...], picture: np.ndarray) -> Likeness:
        colour = np.mean([each.picture[each.mask].mean(0) for each in examples], axis=0)
        mask = np.abs(picture - colour).max(-1) < 40
        return Likeness(mask, 0.9 if mask.any() else 0.1)

    def follow(self, examples: tuple[Example, ...], frames: Iterable[np.ndarray]) -> Iterator[Likeness]:
        for frame in frames:
            yield self.find(examples, frame)


class Ball:
    """Draws a textured ball; where it is, is the latent."""

    def view(self, latent: Tensor) -> View:
        line = torch.arange(SIZE, dtype=torch.float32)
        away = torch.stack(torch.meshgrid(line, line, indexing="xy")) - latent.view(2, 1, 1)
        share = torch.exp(-away.square().sum(0) / (2 * 7.0**2))
        waves = torch.cat([torch.cos(away / 3), torch.sin(away / 3), torch.cos(away / 5), torch.sin(away / 5)])
        features = torch.cat((share[None] * (2 + waves), 0.02 * torch.ones(1, SIZE, SIZE)))
        picture = torch.stack((share, share * waves[0], share * waves[1])) * 1.6 - 0.9
        return View(features=features[None], picture=lambda: picture.detach()[None], size=SIZE)


@dataclass(frozen=True)
class BallDragger:
    """Starts with the ball anywhere, or where somebody's picture is darkest."""

    size: int = SIZE
    kinds: tuple[str, ...] = ("ball", "marble")
    reads: bool = False

    def begin(self, start: Start, told: Told) -> DragSession:
        match start:
            case Worded(text=text):
                raise RequestError.of("words", text, "left out: this one draws balls, and reads no sentences")
            case Drawn(seed=seed):
                latent = 20 + 24 * torch.rand(2, generator=torch.Generator().manual_seed(seed))
            case Given(picture=picture):
                for step in range(1, 4):
                    told(step, 3, "look for the picture")
                rows, columns = np.nonzero(picture.mean(-1) < 100)
                if not len(rows):
                    raise RequestError("there is nothing dark in this picture; give another")
                height, width = picture.shape[:2]
                latent = torch.tensor((columns.mean() * SIZE / width, rows.mean() * SIZE / height)).float()
        settings = DragSettings(rate=0.4, radius=3, near=1.0, pulled=0.5, steps=200, tracker=NearestFeature(radius=6))
        return DragSession(Ball(), latent, settings)


class Holder(nn.Module):
    """The module of a tool that has no parameters worth the name."""

    def __init__(self, tool: Any) -> None:
        super().__init__()
        self.tool = tool


TOOLS = {"ball": BallDragger, "flood": Flood, "hue": Hue}


def _system(name: str, offer: str) -> System:
    return System(
        presets={"tiny": Preset(config=name, parameters=0, source="here")},
        build=lambda config: Holder(TOOLS[config]()), request=GradientRequest, infer=infer,
        tiny_request=GradientRequest(inputs=("red",)), bundled="tiny", **{offer: lambda model: model.tool},
    )  # fmt: skip


class TouchCatalog:
    """A catalog of these systems, of all or of some."""

    def __init__(self, *names: str) -> None:
        offers = {"ball": "dragger", "flood": "segmenter", "hue": "in_context"}
        self.rooms = {name: _system(name, offer) for name, offer in offers.items() if not names or name in names}
        self.loads: list[str] = []

    def systems(self) -> list[str]:
        return list(self.rooms)

    def card(self, system_id: str) -> Card:
        return Card(
            title=system_id.capitalize(), sentence=f"It works with a {system_id}.", citation="The tests.", papers=(),
            peer="none", licence="Nothing to know.",
        )  # fmt: skip

    def get(self, system_id: str) -> System:
        return self.rooms[system_id]

    def load(self, system_id: str, parts: Mapping[str, str]) -> Ready:
        self.loads.append(system_id)
        system = self.rooms[system_id]
        weights = WeightsOrigin(sha256="0" * 64, source="bundled")
        model = system.build(system_id).eval()
        return Ready(id=system_id, preset="tiny", config=system_id, model=model, weights=weights, system=system)
