"""Points in the plane; apart from the other worlds because it draws with torch, which they do without."""

from bottega.worlds.planar.points import Planar, planar_points

__all__ = ["Planar", "planar_points"]
