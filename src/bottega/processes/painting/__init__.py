"""In-context painting: an example above a query, their targets alike, and the loss on what is to be painted."""

from bottega.processes.painting.canvas import from_paint, stacked, to_paint, unknown_half
from bottega.processes.painting.loss import painting_loss, training_masks

__all__ = ["from_paint", "painting_loss", "stacked", "to_paint", "training_masks", "unknown_half"]
