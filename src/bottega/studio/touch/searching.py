"""The same thing everywhere: what was marked in one picture is found in others."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from bottega.errors import RequestError
from bottega.processes.segmentation import Example, Likeness
from bottega.studio.touch.hands import Telling
from bottega.studio.touch.looking import candidates
from bottega.studio.touch.messages import Blank, Found, SearchBody, Sheet
from bottega.studio.touch.toolbox import Toolbox


def search(toolbox: Toolbox, body: SearchBody) -> Callable[[Telling], None]:
    """The work of finding a thing in pictures; it says "found" for each and "end" at last.

    Raises:
        BottegaError: The system or a picture is not there, or nothing is marked.
    """
    if not any(sheet.objects for sheet in body.examples):
        raise RequestError("nothing is marked; keep a thing first, and then look for it elsewhere")
    examples = tuple(_example(toolbox, sheet) for sheet in body.examples if sheet.objects)
    for given in body.pictures:
        toolbox.source(given)

    def work(telling: Telling) -> None:
        finder = toolbox.finder(body.system)

        def pixels() -> Iterator:
            for given in body.pictures:
                telling.check()
                yield toolbox.open(given).pixels

        answers: Iterator[Likeness] = (
            iter(finder.follow(examples, pixels()))
            if body.film
            else (finder.find(examples, picture) for picture in pixels())
        )
        with torch.inference_mode():
            for index, likeness in enumerate(answers):
                mask, score = torch.from_numpy(likeness.mask)[None], torch.tensor([likeness.score])
                telling.say("found", Found(index=index, mask=candidates(mask, score)[0]))
        telling.say("end", Blank())

    return work


def _example(toolbox: Toolbox, sheet: Sheet) -> Example:
    """A picture with all of its things marked together."""
    picture = toolbox.open(sheet.picture)
    mask = picture.mask(sheet.objects[0].counts)
    for kept in sheet.objects[1:]:
        mask = mask | picture.mask(kept.counts)
    if not mask.any():
        raise RequestError(f"nothing is marked in {picture.name}; click on the thing first")
    return Example(picture.pixels, mask)
