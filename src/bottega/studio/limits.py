"""Every bound of the studio in one place. What is larger is refused before it is read, decoded or computed."""

from __future__ import annotations

from typing import Final

BODY_BYTES: Final = 64 * 1024
"""Largest body of any request that is not an upload."""

UPLOAD_BYTES: Final = 24 * 1024 * 1024
"""Largest uploaded file."""

UPLOAD_PIXELS: Final = 40_000_000
"""Most pixels (width x height) of an uploaded picture, read in its header before anything is decoded."""

UPLOAD_FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""Formats that are decoded; Pillow's rarer decoders are never reached from the network."""

DECODERS: Final = 2
"""Uploads that are decoded at the same time."""

KEPT_SIDE: Final = 1536
"""Longest side, in pixels, of the copy that is kept of an uploaded picture."""

KEPT_UPLOADS: Final = 100
"""Uploads that are kept; the oldest go first. A result holds its own copies of its inputs."""

INPUTS: Final = 64
"""Most prompts or pictures of one job."""

TEXT_CHARACTERS: Final = 2_000
"""Longest prompt or text setting."""

LARGEST: Final = {"count": 64, "steps": 1_000}
"""Largest values of settings that multiply the work, whatever the system itself would allow."""

THINGS: Final = 256
"""Most things that one job makes: inputs x count."""

QUEUE_CAPACITY: Final = 8
"""Most jobs that wait and run together."""

JOB_HISTORY: Final = 100
"""Finished jobs that the server remembers; their results stay on disk."""

STREAMS: Final = 32
"""Most open event streams."""

LOADED_SYSTEMS: Final = 2
"""Systems whose weights stay in memory."""

GALLERY_PAGE: Final = 60
"""Most results in one answer of the gallery."""

PREVIEW_SIDE: Final = 384
"""Longest side, in pixels, of a live preview."""

SAID: Final = 64
"""Most messages of a conversation."""

SAID_CHARACTERS: Final = 8_000
"""Longest message of a conversation."""

NEW_TOKENS: Final = 4_096
"""Most tokens of an answer."""
