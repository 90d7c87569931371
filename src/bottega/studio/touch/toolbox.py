"""The systems that the page "Touch" works with: which there are, and the last few of them with their weights."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bottega.data import read_picture
from bottega.errors import RequestError
from bottega.ops import RunLengths
from bottega.room import Offer
from bottega.studio import limits
from bottega.studio.touch.messages import Picture, Tool, Tools
from bottega.studio.touch.shelf import Shelf
from bottega.studio.workshop import Catalog, Source, Workshop

if TYPE_CHECKING:
    from bottega.processes.dragging import Dragger
    from bottega.processes.segmentation import InContextSegmenter, Segmenter


@dataclass(frozen=True, slots=True, eq=False)
class OpenPicture:
    """A picture that somebody works on.

    Args:
        name: What the person calls it.
        path: The studio's copy.
        pixels: uint8 `(height, width, 3)`.
    """

    name: str
    path: Path
    pixels: np.ndarray

    def mask(self, counts: str) -> np.ndarray:
        """A mask of this picture from its run lengths, bool `(height, width)`.

        Raises:
            RequestError: It is not of this picture's size.
        """
        return RunLengths.parse(counts, *self.pixels.shape[:2]).mask()


class Toolbox:
    """Systems by what they offer, and people's pictures.

    Args:
        catalog: Where systems come from.
        workshop: Knows where pictures lie.
    """

    def __init__(self, catalog: Catalog, workshop: Workshop) -> None:
        self._catalog, self._workshop = catalog, workshop
        self._shelf: Shelf[tuple[str, Offer], Any] = Shelf(limits.TOUCH_SYSTEMS)

    def tools(self) -> Tools:
        """What there is to touch with."""
        return Tools(
            segmenters=self._able(Offer.SEGMENTER),
            finders=self._able(Offer.IN_CONTEXT),
            draggers=self._able(Offer.DRAGGER),
            videos=importlib.util.find_spec("av") is not None,
        )

    def segmenter(self, system_id: str) -> Segmenter:
        """A system that answers clicks.

        Raises:
            RequestError: It does not, or has no weights.
        """
        return self._tool(system_id, Offer.SEGMENTER)

    def finder(self, system_id: str) -> InContextSegmenter:
        """A system that finds what examples show; raises as `segmenter` does."""
        return self._tool(system_id, Offer.IN_CONTEXT)

    def dragger(self, system_id: str) -> Dragger:
        """A system whose pictures can be dragged; raises as `segmenter` does."""
        return self._tool(system_id, Offer.DRAGGER)

    def source(self, given: Picture) -> Source:
        """Where a picture lies.

        Raises:
            RequestError: It is no longer here.
        """
        return self._workshop.source(given)

    def open(self, given: Picture) -> OpenPicture:
        """A picture, read; raises as `source` does."""
        source = self.source(given)
        if source.path is None or not source.path.is_file():
            raise RequestError("the picture is no longer here; drop it on the page again")
        return OpenPicture(source.label, source.path, read_picture(source.path))

    def close(self) -> None:
        """Frees the weights."""
        self._shelf.clear()

    def _able(self, kind: Offer) -> list[Tool]:
        found = []
        for name in self._catalog.systems():
            room = self._catalog.get(name)
            if room.offer(kind) is not None and room.at_hand() is not None:
                card = self._catalog.card(name)
                found.append(Tool(id=name, title=card.title, sentence=card.sentence))
        return found

    def _tool(self, system_id: str, kind: Offer) -> Any:
        known = [tool.id for tool in self._able(kind)]
        if system_id not in known:
            raise RequestError.of(
                "system", system_id, f"a {kind.value} with weights: {', '.join(known) or 'there is none'}"
            )
        offer = self._catalog.get(system_id).offer(kind)
        if offer is None:
            raise RequestError.of("system", system_id, f"a {kind.value}")
        return self._shelf.get((system_id, kind), lambda: offer(self._catalog.load(system_id, parts={}).model))
