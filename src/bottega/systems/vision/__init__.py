"""Perception: masks, tasks in pictures, and features of pictures."""
