"""Production's settings, with the static files in the run's own folder."""

import os
from pathlib import Path

from esimshop.settings import *  # noqa: F403

STATIC_ROOT = Path(os.environ["STATIC_ROOT"])
