"""What the private views of every app have in common: they know the customer, and speak their language."""

from __future__ import annotations

from django.utils import translation
from rest_framework.request import Request

from esimshop import api
from esimshop.languages import Language
from esimshop.rate_limits import count_use
from orders.models import Customer
from orders.services.customers import find_customer, language_for

#: Of one customer, whatever is called: the Mini App asks about an order every second or two.
CALLS_PER_MINUTE = 300


class CustomerView(api.PrivateView):
    """For the customer whose initData comes along.

    customer: None for somebody who never bought or wrote; looking makes no row.
    language: chosen in the settings, else the Telegram user's; active while the view runs.
    """

    customer: Customer | None
    language: Language

    def perform_authentication(self, request: Request) -> None:
        super().perform_authentication(request)
        if wait := count_use(key=f"calls:{self.telegram_user.id}", limit=CALLS_PER_MINUTE, seconds=60):
            raise api.RateLimited(retry_after=wait)
        self.customer = find_customer(self.telegram_user)
        chosen = self.customer.chosen_language if self.customer else ""
        self.language = language_for(chosen, self.telegram_user.language_code)
        translation.activate(self.language)
