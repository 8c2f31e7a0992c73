"""What must hold of every view whatever it shows, told as lists of complaints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from axe_playwright_python.base import AXE_SCRIPT

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.e2e.webview import Webview

WIDTHS = (320, 390, 768)
HEIGHT = 844
_OWN_SCRIPT = Path(__file__).with_suffix(".js").read_text()


def accessibility_of(page: Page, *, rules: tuple[str, ...] = ()) -> list[str]:
    """What axe finds, by all its rules or by some."""
    return _ask(page, "accessibility", rules=list(rules))


def layout_of(page: Page) -> list[str]:
    """In narrow and wide windows, right to left, and with text twice as large: nothing is cut off or sticks out."""
    complaints = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": HEIGHT})
        complaints += [f"{width} wide: {each}" for each in _ask(page, "layout", wholeWords=True)]
    page.set_viewport_size({"width": WIDTHS[0], "height": HEIGHT})
    page.evaluate("document.documentElement.dir = 'rtl'")
    complaints += [f"right to left: {each}" for each in _ask(page, "layout", wholeWords=True)]
    page.evaluate("document.documentElement.removeAttribute('dir')")
    page.set_viewport_size({"width": 390, "height": HEIGHT})
    page.evaluate("document.documentElement.style.fontSize = '200%'")
    complaints += [f"text at 200 %: {each}" for each in _ask(page, "layout", wholeWords=False)]
    page.evaluate("document.documentElement.style.removeProperty('font-size')")
    return complaints


def manners_of(page: Page) -> list[str]:
    """One title, targets for a thumb, and no motion for who asked for none."""
    complaints = _ask(page, "headings") + _ask(page, "targets")
    page.emulate_media(reduced_motion="reduce")
    complaints += _ask(page, "motion")
    page.emulate_media(reduced_motion="no-preference")
    return complaints


def contrast_in(webview: Webview, theme: str) -> list[str]:
    """What axe finds of contrast once the theme has changed under the page."""
    # Or a colour that is on its way from one theme to the other would be looked at.
    webview.page.emulate_media(reduced_motion="reduce")
    webview.set_theme(theme)
    complaints = accessibility_of(webview.page, rules=("color-contrast",))
    webview.page.emulate_media(reduced_motion="no-preference")
    return complaints


def _ask(page: Page, question: str, **details: Any) -> list[str]:
    # Evaluated as by the console, where the page's policy does not apply.
    if not page.evaluate("'appearance' in window"):
        page.evaluate(AXE_SCRIPT)
        page.evaluate(_OWN_SCRIPT)
    return list(page.evaluate("([question, details]) => window.appearance[question](details)", [question, details]))
