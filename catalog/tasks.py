"""What the worker does for the catalogue by itself."""

import structlog
from procrastinate.contrib.django import app

from catalog.services.accounts import WrongCurrency, refresh_account
from catalog.services.sync import SyncFailed, sync_plans
from esimshop.alerts import clear_alert, raise_alert
from esimshop.clients.esimgo import EsimGoError, esimgo_client
from esimshop.tasks import HOUSEKEEPING, IDLE

log = structlog.get_logger(__name__)


@app.periodic(cron="23 * * * *")
@app.task(queue=HOUSEKEEPING, priority=IDLE, lock="catalogue", queueing_lock="sync_catalog")
def sync_catalog_task(timestamp: int) -> None:
    try:
        sync_plans(client=esimgo_client())
    except SyncFailed as error:
        raise_alert(
            cause="catalogue",
            text=f"The catalogue could not be synced and stays as it was: {error}",
            path="/admin/catalog/catalogsync/",
        )
    else:
        clear_alert(cause="catalogue")


@app.periodic(cron="*/5 * * * *")
@app.task(queue=HOUSEKEEPING, priority=IDLE, queueing_lock="refresh_account")
def refresh_account_task(timestamp: int) -> None:
    try:
        refresh_account(client=esimgo_client())
    except (EsimGoError, WrongCurrency) as error:
        # No alert: the next run is five minutes away, and a balance that stays old stops no sale by itself.
        log.warning("account_not_refreshed", error=str(error))
