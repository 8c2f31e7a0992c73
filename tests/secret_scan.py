"""Looks for secrets in what is tracked: `python -m tests.secret_scan`; with files as arguments, in those.

What detect-secrets finds and .secrets.baseline knows, somebody has looked at: made-up values of tests and hashes that
are no secret. After another one of these: `.venv/bin/detect-secrets scan --baseline .secrets.baseline`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from detect_secrets import SecretsCollection
from detect_secrets.core import baseline
from detect_secrets.plugins.telegram_token import TelegramBotTokenDetector
from detect_secrets.settings import configure_settings_from_baseline

ROOT = Path(__file__).resolve().parent.parent
BASELINE = ".secrets.baseline"
#: A word such as "password" beside any value: tests are full of made-up ones. What looks random is found there too.
KEYWORD = "Secret Keyword"
# Written by tools, and full of what looks random.
LEFT_OUT = (".mo", ".png", ".svg", ".ico", ".woff2", BASELINE)


class BotTokenDetector(TelegramBotTokenDetector):
    """Anywhere in a line, where the library's own looks for lines that are nothing but a token."""

    denylist = [re.compile(r"(?<!\d)\d{8,10}:[\w-]{35}(?![\w-])")]


def tracked_files() -> list[str]:
    """All that git knows here; without git, or in an unpacked archive, all that is there."""
    try:
        asked = subprocess.run(
            ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
        )
        names = asked.stdout.decode().split("\0")
    except (OSError, subprocess.CalledProcessError):
        names = [
            str(path.relative_to(ROOT))
            for path in ROOT.rglob("*")
            if path.is_file() and not {".venv", "var", ".git", "node_modules"} & set(path.relative_to(ROOT).parts)
        ]
    return [name for name in names if name and not name.endswith(LEFT_OUT) and (ROOT / name).is_file()]


def find_secrets(files: list[str]) -> list[str]:
    """ "file:line: what it looks like", of all that the baseline does not know."""
    known = baseline.load_from_file(str(ROOT / BASELINE))
    configure_settings_from_baseline(known, filename=str(ROOT / BASELINE))
    found = SecretsCollection()
    for file in files:
        found.scan_file(file)
        for number, line in enumerate((ROOT / file).read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            found[file].update(BotTokenDetector().analyze_line(filename=file, line=line, line_number=number))
    return [
        f"{file}:{each.line_number}: {each.type}"
        for file, each in found - baseline.load(known)
        if not (each.type == KEYWORD and file.startswith("tests/"))
    ]


def main(files: list[str]) -> int:
    files = files or tracked_files()
    found = find_secrets(files)
    print(f"{len(files)} files looked at: {len(found)} secrets.", *found, sep="\n  ")
    return 1 if found or not files else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
