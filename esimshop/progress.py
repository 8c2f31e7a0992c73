"""A bar for people who wait."""

from django.core.management.base import OutputWrapper

BAR_WIDTH = 30


def show_progress(stream: OutputWrapper, done: int, total: int) -> None:
    """Draw how much is done, over what was drawn before; nothing where the stream is no terminal."""
    if not stream.isatty() or not total:
        return
    filled = BAR_WIDTH * done // total
    bar = "█" * filled + "·" * (BAR_WIDTH - filled)
    stream.write(f"\r{bar} {done:,}/{total:,}", ending="\n" if done == total else "")
