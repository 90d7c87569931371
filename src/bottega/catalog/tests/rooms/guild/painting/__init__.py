"""Two rooms."""
