from django.apps import AppConfig


class PaymentsConfig(AppConfig):
    name = "payments"
    verbose_name = "Payments"

    def ready(self) -> None:
        from orders.services import fulfilment
        from payments.services import refunds

        fulfilment.give_up_order = refunds.refund_unfulfillable_order
