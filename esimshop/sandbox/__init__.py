"""A stand-in for Telegram's Bot API, the Telegram client and eSIM Go, over real HTTP on this machine only."""

from esimshop.sandbox.server import DEFAULT_API_KEY, DEFAULT_TOKEN, Sandbox

__all__ = ["DEFAULT_API_KEY", "DEFAULT_TOKEN", "Sandbox"]
