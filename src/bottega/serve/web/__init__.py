"""What every server of ours has: an address, and a guard in front of it."""

from bottega.serve.web.address import is_loopback, listen, own_hosts, page_address, token_for
from bottega.serve.web.guard import Guard, House

__all__ = ["Guard", "House", "is_loopback", "listen", "own_hosts", "page_address", "token_for"]
