"""Rooms of which one works with the other."""
