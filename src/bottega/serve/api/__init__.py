"""OpenAI's interface to a language model: models, completions and chat completions.

Source: OpenAI, API reference, https://platform.openai.com/docs/api-reference (completions, chat, models, errors).
"""

from bottega.serve.api.app import Served, create_api
from bottega.serve.api.server import Serving, serve_language

__all__ = ["Served", "Serving", "create_api", "serve_language"]
