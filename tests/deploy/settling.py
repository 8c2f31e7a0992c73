"""The shop's books beside the outside world's, once nothing moves any more; asked where the database can be reached."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Json = dict[str, Any]

# The figures that would stop a load for its own sake, which have tests of their own.
LOOSE_POLICY = (
    "from payments.models import ServicePolicy;"
    "ServicePolicy.objects.create(reason='load', invoices_per_minute=10_000, purchases_per_hour=1_000_000)"
)
_UNSETTLED = (
    "import json; from tests.chaos.books import count_unfinished;"
    "print(json.dumps(count_unfinished(json.load(open({!r})))))"
)
_COMPARE = (
    "import json; from tests.chaos.books import ZEROS, compare; books = compare(json.load(open({!r})));"
    "print(json.dumps([[line for name in ZEROS for line in books.faults[name]], dict(books.ends), books.charges]))"
)


def assert_every_payment_is_one_esim(
    run_python: Callable[[str], str], read_ledger: Callable[[], Json], folder: Path, *, seconds: float = 90
) -> int:
    """Wait until nothing moves, then compare: each charge has its one eSIM, delivered, and nothing else was bought.

    run_python: runs a line in the shop's shell and returns what it printed. folder: which that shell can read.
    Returns: how many charges there are.
    """
    file = folder / "ledger.json"
    deadline = time.monotonic() + seconds
    while True:
        file.write_text(json.dumps(read_ledger()))
        file.chmod(0o644)
        left = json.loads(run_python(_UNSETTLED.format(str(file))))
        if not left:
            break
        assert time.monotonic() < deadline, left
        time.sleep(1)
    faults, ends, charges = json.loads(run_python(_COMPARE.format(str(file))))
    assert faults == []
    assert ends == {"completed": charges}
    return int(charges)
