"""The world of shapes: coloured shapes with compositional captions, and clips of moving shapes."""

from bottega.worlds.shapes.drawing import COLORS, SHAPES
from bottega.worlds.shapes.moving import MovingShapesWorld
from bottega.worlds.shapes.world import ShapesWorld

__all__ = ["COLORS", "SHAPES", "MovingShapesWorld", "ShapesWorld"]
