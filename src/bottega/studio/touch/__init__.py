"""The page "Touch": clicks become masks, pictures are dragged, and a thing is found everywhere."""

from bottega.studio.touch.routes import router
from bottega.studio.touch.touching import Touch

__all__ = ["Touch", "router"]
