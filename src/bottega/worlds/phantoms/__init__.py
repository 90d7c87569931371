"""The world of phantoms: random heads of ellipses, for tomography with an exact answer."""

from bottega.worlds.phantoms.world import Ellipse, Phantom, PhantomsWorld

__all__ = ["Ellipse", "Phantom", "PhantomsWorld"]
