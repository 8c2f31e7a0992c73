#!/usr/bin/env python
"""Run a management command of the shop."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "esimshop.settings")
    if sys.argv[1:2] in (["demo"], ["sandbox"]):
        # Both work in a fresh clone, without any setting.
        os.environ.setdefault("DEBUG", "on")
    if sys.argv[1:2] == ["demo"]:
        # And the demo must not meet the database or the tokens of a real shop.
        os.environ["READ_DOT_ENV"] = "off"
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
