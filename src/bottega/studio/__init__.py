"""The studio: a page in the browser in which every system can be used, served by this machine for this machine."""

from bottega.studio.app import create_app
from bottega.studio.server import serve, user_folder

__all__ = ["create_app", "serve", "user_folder"]
