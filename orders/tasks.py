"""Tasks of orders: each loads by id and calls one service; what is due lies in the rows, the sweep wakes the rest."""

from procrastinate import RetryStrategy
from procrastinate.contrib.django import app

from esimshop.alerts import alert_on_error, clear_alert, raise_alert
from esimshop.tasks import FULFILMENT, HOUSEKEEPING, IDLE, NORMAL, PROVISIONING, URGENT
from orders.services.deliveries import send_delivery, sweep_deliveries
from orders.services.fulfilment import provision_order, set_customer_ref, sweep_customer_refs, sweep_orders
from orders.services.orders import expire_orders
from orders.services.reconciliation import ReconciliationFailed, reconcile_orders
from orders.services.usage import read_usage, sweep_usage

#: In one run, which takes a slot of the worker for some seconds: two calls each, of ten a second that we have.
USAGE_READINGS = 40


@app.task(queue=PROVISIONING, priority=URGENT)
def provision_order_task(*, order_id: str) -> None:
    path = f"/admin/orders/order/{order_id}/change/"
    with alert_on_error(cause=f"order:{order_id}", what=f"The purchase of order {order_id}", path=path):
        provision_order(order_id)


@app.task(queue=FULFILMENT, priority=URGENT)
def send_delivery_task(*, delivery_id: int) -> None:
    path = f"/admin/orders/delivery/{delivery_id}/change/"
    with alert_on_error(cause=f"delivery:{delivery_id}", what=f"Message {delivery_id}", path=path):
        send_delivery(delivery_id)


@app.task(queue=FULFILMENT, priority=NORMAL, retry=RetryStrategy(max_attempts=5, exponential_wait=3))
def set_customer_ref_task(*, esim_id: int) -> None:
    set_customer_ref(esim_id)


# Both one at a time, so that an eSIM Go that hangs never holds more than two slots of a worker.
@app.task(queue=HOUSEKEEPING, priority=NORMAL, lock="usage_looked_at")
def read_usage_task(*, esim_id: int) -> None:
    read_usage(esim_id)


@app.periodic(cron="* * * * * */20")
@app.task(queue=HOUSEKEEPING, priority=IDLE, lock="usage", queueing_lock="sweep_usage")
def sweep_usage_task(timestamp: int) -> None:
    sweep_usage(limit=USAGE_READINGS)


@app.periodic(cron="* * * * * */5")
@app.task(queue=FULFILMENT, priority=NORMAL, queueing_lock="sweep_orders")
def sweep_orders_task(timestamp: int) -> None:
    expire_orders()
    sweep_orders()
    sweep_deliveries()


# Seldom, since each is a call to the wholesaler, whose tokens the purchases need.
@app.periodic(cron="*/15 * * * *")
@app.task(queue=HOUSEKEEPING, priority=IDLE, queueing_lock="sweep_customer_refs")
def sweep_customer_refs_task(timestamp: int) -> None:
    sweep_customer_refs()


@app.periodic(cron="7-59/15 * * * *")
@app.task(queue=HOUSEKEEPING, priority=IDLE, queueing_lock="reconcile_orders")
def reconcile_orders_task(timestamp: int) -> None:
    try:
        reconcile_orders()
    except ReconciliationFailed as error:
        raise_alert(
            cause="reconcile_orders",
            text=f"eSIM Go's orders could not be compared with ours, nothing was changed: {error}. It is tried again "
            "every 15 minutes. Look at eSIM Go's status if this stays.",
            path="/admin/orders/orphan/",
        )
    else:
        clear_alert(cause="reconcile_orders")
