"""`python -m tests.benchmarks.first_view`: how soon the Mini App's start page is there on a slow phone, and searches.

A headless Chromium with a fresh profile, its processor slowed down four times, on a slow 4G network, inside of what it
takes for Telegram. Beside it, in the same manner and from the same server, one bare HTML file of the same words: no
page with these words can be sooner there. Telegram's script is served locally, and counted apart.
"""

from __future__ import annotations

import argparse
import gzip
import html
import json
import logging
import os
import statistics
import sys
import warnings
from collections import defaultdict
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import requests

from tests import chromium
from tests.benchmarks.figures import percentile
from tests.benchmarks.processes import PROJECT, Processes
from tests.telegram_script import find_script

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, CDPSession, Page

SCREEN = {"width": 390, "height": 844}
CPU_SLOWER = 4
LATENCY_MS, DOWN_KBIT, UP_KBIT = 150, 1600, 750
SCRIPT_NAME, BARE_NAME = "telegram-web-app.js", "bare.html"
STAND_IN = PROJECT / "esimshop" / "sandbox" / "static" / SCRIPT_NAME
CUSTOMER = 5_550_001

MOST_REQUESTS, MOST_KB = 12, 60
MOST_LCP_MS, MOST_SHIFT, MOST_SEARCH_MS = 1500, 0.05, 50
QUIET_MS = 700  # after which the first view asks for nothing more
AHEAD_MS = 8000  # until everything is there that is read ahead
# Typed letter by letter: plain, a city, the other layout, errors that need the slowest kind of comparison.
TYPED = ("турция", "стамбул", "united arab emirates", "nehwbz", "грмания", "австрлия", "ntckfyl", "zzzzzzzz")

_WATCH = """
window.seen = { lcp: 0, shift: 0, routed: 0 };
new PerformanceObserver((list) => { for (const entry of list.getEntries()) seen.lcp = entry.startTime; })
  .observe({ type: "largest-contentful-paint", buffered: true });
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) seen.shift += entry.value;
}).observe({ type: "layout-shift", buffered: true });
new MutationObserver((_, watch) => {
  if (!("routed" in document.documentElement.dataset)) return;
  seen.routed = performance.now();
  watch.disconnect();
}).observe(document, { attributes: true, subtree: true });
"""
_SEEN = """() => ({
  ...seen, fcp: performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0,
})"""
# One key: from the event to the laid out hits.
_TYPE = """async (words) => {
  const field = document.querySelector("[data-slot=query]");
  const hits = document.querySelector("[data-slot=hits]");
  const times = [];
  for (const word of words) {
    for (let end = 1; end <= word.length; end += 1) {
      await new Promise((resolve) => setTimeout(resolve, 30));
      const drawn = new Promise((resolve) => {
        const watch = new MutationObserver(() => { watch.disconnect(); resolve(); });
        watch.observe(hits, { childList: true });
      });
      const started = performance.now();
      field.value = word.slice(0, end);
      field.dispatchEvent(new Event("input"));
      await drawn;
      hits.getBoundingClientRect();
      times.push([performance.now() - started, word.slice(0, end)]);
    }
  }
  return times;
}"""


@dataclass
class Traffic:
    """What a page asked for: number and bytes, headers included, by kind."""

    kinds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def requests(self, *, script: bool = False) -> int:
        return sum(len(sizes) for kind, sizes in self.kinds.items() if (kind == SCRIPT_NAME) == script)

    def kilobytes(self, *, script: bool = False) -> float:
        return sum(sum(sizes) for kind, sizes in self.kinds.items() if (kind == SCRIPT_NAME) == script) / 1000


@dataclass(frozen=True)
class Visit:
    """One visit of a fresh profile; times in ms since it began. first_hits: since the tap on the search field."""

    fcp: float
    lcp: float
    shift: float
    routed: float
    first: Traffic
    ahead: Traffic
    first_hits: float = 0
    keys: list[tuple[float, str]] = field(default_factory=list)


class FirstView:
    def __init__(self, processes: Processes, static_root: Path, *, rounds: int, plans: int | None) -> None:
        self.processes = processes
        self.static_root = static_root
        self.rounds = rounds
        self.plans = plans
        self.shop_url = f"http://127.0.0.1:{processes.shop_port}"
        self.missed: list[str] = []

    def prepare(self) -> None:
        from django.core.management import call_command

        from tests.benchmarks import stock

        logging.getLogger().setLevel(logging.WARNING)
        warnings.filterwarnings("ignore", "No directory at", UserWarning)
        _say("Static files, tables, catalogue")
        call_command("collectstatic", interactive=False, verbosity=0)
        self._serve(SCRIPT_NAME, (find_script() or STAND_IN).read_text(encoding="utf-8"))
        call_command("migrate", interactive=False, verbosity=0)
        rate_sheet = self.processes.folder / "rates.csv"
        stock.write_rate_sheet(rate_sheet, plans=self.plans or stock.PLANS)
        self.processes.start_sandbox(rate_sheet=rate_sheet)
        self._tell_sandbox("settings", {"rate_limit": False})
        self._tell_sandbox("users", {"id": CUSTOMER, "first_name": "Вера", "language_code": "ru", "stars": 100})
        call_command("sync_catalog", stdout=StringIO())
        self._serve(BARE_NAME, self._bare_page())
        self.processes.start_shop()

    def measure(self) -> None:
        """Print the table; `missed` has what is not as good as it should be."""
        from playwright.sync_api import sync_playwright

        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=str(chromium.find_chromium()), args=chromium.launch_arguments()
            )
            # The first visits, thrown away, fill the server's caches.
            self._visit(browser, f"{self.shop_url}/")
            ours, bare = [], []
            for number in range(self.rounds):
                _say(f"Round {number + 1} of {self.rounds}")
                ours.append(self._visit(browser, self._address(), searches=True))
                bare.append(self._visit(browser, f"{self.shop_url}/static/{BARE_NAME}"))
            browser.close()
        print("\n".join([*self._tell_traffic(ours), "", *self._tell_times(ours, bare)]))

    # --- What is served

    def _serve(self, name: str, content: str) -> None:
        file = self.static_root / name
        file.write_text(content, encoding="utf-8")
        file.with_name(f"{name}.gz").write_bytes(gzip.compress(content.encode()))

    def _bare_page(self) -> str:
        """The words of the start page in one file that asks for nothing else."""
        from django.test import Client

        page = Client(headers={"host": "127.0.0.1", "accept-language": "ru"}).get("/").content.decode()
        start = page[page.index('<div id="view-find"') : page.index("</main>")]
        words = " ".join(part.partition(">")[2] for part in start.split("<")).split("  ")
        lines = "".join(f"<p>{html.escape(html.unescape(line.strip()))}</p>" for line in words if line.strip())
        return (
            '<!doctype html><html lang="ru"><meta charset="utf-8"><link rel="icon" href="data:,">'
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>eSIM</title>{lines}</html>'
        )

    def _address(self) -> str:
        """Of the app as Telegram opens it for a customer."""
        init_data = requests.get(f"{self.processes.sandbox_url}/sandbox/users/{CUSTOMER}/init-data", timeout=10).json()[
            "init_data"
        ]
        theme = {"bg_color": "#ffffff", "secondary_bg_color": "#efeff4", "text_color": "#000000"}
        launch = {
            "tgWebAppData": init_data,
            "tgWebAppVersion": "8.0",
            "tgWebAppPlatform": "android",
            "tgWebAppThemeParams": json.dumps(theme),
        }
        return f"{self.shop_url}/#{urlencode(launch)}"

    def _tell_sandbox(self, path: str, values: dict[str, Any]) -> None:
        requests.post(f"{self.processes.sandbox_url}/sandbox/{path}", json=values, timeout=10).raise_for_status()

    # --- Visits

    def _visit(self, browser: Browser, url: str, *, searches: bool = False) -> Visit:
        context = browser.new_context(viewport=SCREEN, locale="ru-RU", device_scale_factor=2, is_mobile=True)
        page = context.new_page()
        page.add_init_script(_WATCH)
        session = context.new_cdp_session(page)
        _slow_down(session)
        traffic = _Listener(session)
        page.goto(url, wait_until="load")
        page.wait_for_timeout(QUIET_MS)
        first = traffic.take()
        seen = page.evaluate(_SEEN)
        if not searches:
            context.close()
            return Visit(**seen, first=first, ahead=Traffic())
        first_hits = self._type_first(page)
        page.wait_for_timeout(AHEAD_MS)
        ahead = traffic.take()
        keys = [(ms, text) for ms, text in page.evaluate(_TYPE, TYPED)]
        # The browser asks for the icon behind the page's back: here it is asked for again, to be seen.
        page.evaluate(
            "fetch(document.querySelector('link[rel=icon]').href, { cache: 'reload' }).then((icon) => icon.text())"
        )
        page.wait_for_timeout(QUIET_MS)
        first.kinds["icon"] = [size for sizes in traffic.take().kinds.values() for size in sizes]
        context.close()
        return Visit(**seen, first=first, ahead=ahead, first_hits=first_hits, keys=keys)

    def _type_first(self, page: Page) -> float:
        """A tap on the field and a letter, with everything that the search needs still at the server."""
        field_ = page.locator("[data-slot=query]")
        started = page.evaluate("performance.now()")
        field_.click()
        page.keyboard.insert_text("а")
        page.locator("[data-slot=results] [data-area]").first.wait_for()
        return float(page.evaluate("performance.now()") - started)

    # --- The table

    def _tell_traffic(self, visits: list[Visit]) -> Iterator[str]:
        visit = visits[-1]
        script = "Telegram's script, its own" if find_script() else "Telegram's script, a stand-in"
        network = f"{LATENCY_MS} ms, {DOWN_KBIT} kbit/s down, {UP_KBIT} up"
        yield f"{CPU_SLOWER}x slower processor; {network}; {self.rounds} rounds"
        yield f"{'first view':<34}{'requests':>10}{'KB':>9}"
        for kind, sizes in sorted(visit.first.kinds.items()):
            if kind != SCRIPT_NAME:
                yield f"  {kind:<32}{len(sizes):>10}{sum(sizes) / 1000:>9.1f}"
        total, size = visit.first.requests(), visit.first.kilobytes()
        yield f"{'together':<34}{total:>10}{size:>9.1f}   {self._verdict(total, MOST_REQUESTS, 'requests')}" + (
            f", {self._verdict(size, MOST_KB, 'KB')}"
        )
        yield f"{script:<34}{visit.first.requests(script=True):>10}{visit.first.kilobytes(script=True):>9.1f}"
        yield f"{'read ahead after the first tap':<34}{visit.ahead.requests():>10}{visit.ahead.kilobytes():>9.1f}"

    def _tell_times(self, ours: list[Visit], bare: list[Visit]) -> Iterator[str]:
        def median(visits: list[Visit], name: str) -> float:
            return statistics.median(getattr(visit, name) for visit in visits)

        keys = sorted((ms, text) for visit in ours for ms, text in visit.keys)
        yield f"{'median':<34}{'shop':>10}{'bare':>9}"
        yield _line("first contentful paint, ms", median(ours, "fcp"), median(bare, "fcp"))
        lcp, shift = median(ours, "lcp"), median(ours, "shift")
        yield _line("largest contentful paint, ms", lcp, median(bare, "lcp"), self._verdict(lcp, MOST_LCP_MS, "ms"))
        yield f"{'layout shift':<34}{shift:>10.3f}{'':>9}   {self._verdict(shift, MOST_SHIFT, '')}"
        yield _line("the search box listens, ms", median(ours, "routed"))
        yield _line("tap and first letter to hits, ms", median(ours, "first_hits"))
        for name, share in (("p50", 0.5), ("p95", 0.95), ("longest", 1.0)):
            value = percentile([ms for ms, _ in keys], share)
            yield _line(f"later letter to hits, {name}, ms", value, None, self._verdict(value, MOST_SEARCH_MS, "ms"))
        yield f"  slowest: {', '.join(f'{text} {ms:.0f}' for ms, text in reversed(keys[-5:]))}"

    def _verdict(self, value: float, most: float, unit: str) -> str:
        if value <= most:
            return f"at most {most} {unit}".rstrip() + ": ok"
        self.missed.append(f"{value:.2f} {unit} where {most} are wanted")
        return f"at most {most} {unit}".rstrip() + ": MISSED"


class _Listener:
    """Counts what the network brings. Nothing that was kept in a cache is brought."""

    def __init__(self, session: CDPSession) -> None:
        self._kinds: dict[str, str] = {}
        self._traffic = Traffic()
        session.on("Network.responseReceived", self._received)
        session.on("Network.loadingFinished", self._finished)

    def take(self) -> Traffic:
        """What came since the last time."""
        traffic, self._traffic = self._traffic, Traffic()
        return traffic

    def _received(self, event: dict[str, Any]) -> None:
        name = Path(urlsplit(event["response"]["url"]).path).name
        suffix = {".js": "modules", ".css": "styles", ".svg": "icon"}
        kind = SCRIPT_NAME if name == SCRIPT_NAME else suffix.get(Path(name).suffix, "page" if not name else "answers")
        self._kinds[event["requestId"]] = kind

    def _finished(self, event: dict[str, Any]) -> None:
        kind = self._kinds.get(event["requestId"], "other")
        self._traffic.kinds[kind].append(event["encodedDataLength"])


def _slow_down(session: CDPSession) -> None:
    session.send("Network.enable")
    session.send(
        "Network.emulateNetworkConditions",
        {
            "offline": False,
            "latency": LATENCY_MS,
            "downloadThroughput": DOWN_KBIT * 1000 / 8,
            "uploadThroughput": UP_KBIT * 1000 / 8,
        },
    )
    session.send("Emulation.setCPUThrottlingRate", {"rate": CPU_SLOWER})


def _line(name: str, ours: float, bare: float | None = None, verdict: str = "") -> str:
    reference = "" if bare is None else f"{bare:.0f}"
    return f"{name:<34}{ours:>10.0f}{reference:>9}   {verdict}".rstrip()


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.first_view", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--plans", type=int, help="instead of a catalogue of the real one's size")
    arguments = parser.parse_args()
    with Processes() as processes:
        static_root = processes.folder / "static"
        static_root.mkdir()
        processes.environment |= {
            "DJANGO_SETTINGS_MODULE": "tests.benchmarks.page_settings",
            "STATIC_ROOT": str(static_root),
            "TELEGRAM_WEB_APP_JS_URL": f"http://127.0.0.1:{processes.shop_port}/static/{SCRIPT_NAME}",
        }
        os.environ.clear()
        # Playwright's own event loop runs beside this program.
        os.environ.update(processes.environment | {"DJANGO_ALLOW_ASYNC_UNSAFE": "on"})
        import django

        django.setup()
        run = FirstView(processes, static_root, rounds=arguments.rounds, plans=arguments.plans)
        run.prepare()
        run.measure()
    if run.missed:
        print(f"\nMissed: {'; '.join(run.missed)}")
    return 1 if run.missed else 0


if __name__ == "__main__":
    sys.exit(main())
