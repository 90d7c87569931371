"""The world of shapes: coloured shapes with captions, clips of moving shapes, and figures with nested parts."""

from bottega.worlds.shapes.classes import classes_of, figure_class, figure_classes
from bottega.worlds.shapes.damage import Damage, damaged
from bottega.worlds.shapes.drawing import COLORS, SHAPES
from bottega.worlds.shapes.figures import FigureClass
from bottega.worlds.shapes.films import NestedClip, NestedFilmsWorld
from bottega.worlds.shapes.moving import MovingShapesWorld
from bottega.worlds.shapes.nested import NestedShapesWorld, ScenePair
from bottega.worlds.shapes.scene import NestedScene, Piece
from bottega.worlds.shapes.world import ShapesWorld

__all__ = [
    "COLORS",
    "SHAPES",
    "Damage",
    "FigureClass",
    "MovingShapesWorld",
    "NestedClip",
    "NestedFilmsWorld",
    "NestedScene",
    "NestedShapesWorld",
    "Piece",
    "ScenePair",
    "ShapesWorld",
    "classes_of",
    "damaged",
    "figure_class",
    "figure_classes",
]
