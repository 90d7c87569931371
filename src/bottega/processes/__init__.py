"""Processes: how a system splits one hard problem into many small ones (noise levels, tokens, scales)."""
