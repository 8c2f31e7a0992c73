"""The shop's settings with shorter times, so that a run settles in minutes."""

from esimshop.settings import *  # noqa: F403

# Six seconds.
ESIMGO_LOOK_UP_MINUTES = 0.1
