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

TOUCH_BYTES: Final = 1024 * 1024
"""Largest body of a request of the page "Touch" that holds masks."""

FILM_BYTES: Final = 96 * 1024 * 1024
"""Largest uploaded film."""

FILM_FRAMES: Final = 64
"""Frames of a film that are kept: a longer one is read up to there."""

MASK_CHARACTERS: Final = 200_000
"""Longest text of a mask's run lengths."""

OBJECTS: Final = 64
"""Most things of one picture that are exported together."""

SPOTS: Final = 64
"""Most clicks on one thing, and most handles of one drag."""

TOUCH_SYSTEMS: Final = 3
"""Systems whose weights stay in memory for the page "Touch"."""

LOOKS: Final = 8
"""Encoded pictures that stay in memory, so that a click is answered at once."""

LOOKS_BYTES: Final = 256 * 1024 * 1024
"""Memory of these pictures and their answers."""

ANSWERS: Final = 24
"""Answers about one picture that are remembered, to be refined or exported with their raw logits."""

DRAGS: Final = 4
"""Pictures under the hand that stay in memory."""

DRAG_STEPS: Final = 300
"""Most steps of one drag."""

UNDOS: Final = 20
"""Drags of one picture that can be taken back."""

SHOTS: Final = 200
"""Frames of one drag that are kept for its film; of a longer drag every second is dropped, again and again."""

HANDS: Final = 2
"""Slow pieces of work of the page "Touch" (drags, searches) that run at the same time."""

HANDS_WAITING: Final = 4
"""Most of them that wait."""
