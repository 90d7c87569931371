"""The page "Touch" on the server's side: its parts put together."""

from __future__ import annotations

from bottega.ops import RunLengths
from bottega.studio import limits
from bottega.studio.touch.dragging import Dragging
from bottega.studio.touch.exporting import Page, Taken, arrays, coco, cut_outs, film
from bottega.studio.touch.hands import Hands
from bottega.studio.touch.looking import Looking
from bottega.studio.touch.messages import ExportBody, Sheet
from bottega.studio.touch.toolbox import Toolbox
from bottega.studio.workshop import Catalog, Workshop


class Touch:
    """Everything that the page's routes speak to.

    Args:
        catalog: Where systems come from.
        workshop: Knows where pictures lie.
    """

    def __init__(self, catalog: Catalog, workshop: Workshop) -> None:
        self.toolbox = Toolbox(catalog, workshop)
        self.looking = Looking(self.toolbox)
        self.dragging = Dragging(self.toolbox)
        self.hands = Hands(limits.HANDS, limits.HANDS_WAITING)

    def export(self, body: ExportBody) -> Taken:
        """A file of what was kept.

        Raises:
            BottegaError: A picture is gone, a mask is not of its picture's size, or the form does not fit.
        """
        pages = [self._page(sheet) for sheet in body.sheets]
        match body.form:
            case "png":
                return cut_outs(pages, trim=body.trim)
            case "json":
                return coco(pages)
            case "npz":
                return arrays(
                    pages,
                    lambda given, kept: self.looking.logits(body.system, given, kept.answer, kept.candidate),
                )
            case "gif" | "webm":
                return film(pages, f".{body.form}")

    def close(self) -> None:
        """Ends all work and frees what it held."""
        self.hands.close()
        self.looking.close()
        self.dragging.close()
        self.toolbox.close()

    def _page(self, sheet: Sheet) -> Page:
        picture = self.toolbox.open(sheet.picture)
        for kept in sheet.objects:
            RunLengths.parse(kept.counts, *picture.pixels.shape[:2])
        return Page(picture.name, sheet.picture, picture.pixels, sheet.objects)
