"""Dragging: points of a generated picture are pulled to where the user wants them, inside the generative model."""

from bottega.processes.dragging.diffusion import (
    DiffusionCanvas,
    DiffusionDrag,
    PictureLora,
    drawn_state,
    inverted_state,
)
from bottega.processes.dragging.dragger import Dragger, Drawn, Given, Start, Told, Worded
from bottega.processes.dragging.losses import (
    directions,
    disc,
    features_at,
    motion_loss,
    square,
    stillness_loss,
)
from bottega.processes.dragging.session import DragSession, DragSettings, DragStep, Points, read_points
from bottega.processes.dragging.trackers import Assumed, NearestFeature, OpticalFlow, Tracker, flow_of_points
from bottega.processes.dragging.view import Draggable, View

__all__ = [
    "Assumed",
    "DiffusionCanvas",
    "DiffusionDrag",
    "DragSession",
    "DragSettings",
    "DragStep",
    "Draggable",
    "Dragger",
    "Drawn",
    "Given",
    "NearestFeature",
    "OpticalFlow",
    "PictureLora",
    "Points",
    "Start",
    "Told",
    "Tracker",
    "View",
    "Worded",
    "directions",
    "disc",
    "drawn_state",
    "features_at",
    "flow_of_points",
    "inverted_state",
    "motion_loss",
    "read_points",
    "square",
    "stillness_loss",
]
