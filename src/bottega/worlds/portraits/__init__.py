"""The world of portraits: emoji faces that lean and move, and drawn critters whose features have exact places."""

from bottega.worlds.portraits.critters import KEYPOINTS, Critter, draw_critter, paint_critter
from bottega.worlds.portraits.world import KINDS, Portrait, PortraitsWorld, face_emojis

__all__ = [
    "KEYPOINTS",
    "KINDS",
    "Critter",
    "Portrait",
    "PortraitsWorld",
    "draw_critter",
    "face_emojis",
    "paint_critter",
]
