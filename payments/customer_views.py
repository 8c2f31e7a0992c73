"""What a customer sets, asks and wishes to have forgotten: the Mini App's settings and requests."""

from __future__ import annotations

from typing import Any

from django.utils import translation
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from esimshop import api
from esimshop.rate_limits import count_use
from orders.customer_view import CustomerView
from orders.services.customers import change_settings, language_for, note_customer
from payments.case_documents import customer_cases, describe_case
from payments.serializers import CaseSerializer, ChangeCustomerSerializer, CustomerSerializer
from payments.services.anonymisation import AnonymisationRefused, anonymise_customer

#: Of one customer.
CHANGES_PER_MINUTE = 60


class SettingsView(CustomerView):
    @extend_schema(operation_id="get_customer", responses=CustomerSerializer)
    def get(self, request: Request) -> Response:
        """What the customer chose; the defaults for somebody the shop does not know."""
        return Response(self._describe())

    @extend_schema(operation_id="change_customer", request=ChangeCustomerSerializer, responses=CustomerSerializer)
    def patch(self, request: Request) -> Response:
        """Other settings; fields that are left out stay."""
        asked = ChangeCustomerSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        self._count_change()
        changes: dict[str, Any] = {}
        if "chosen_language" in asked.validated_data:
            changes["chosen_language"] = asked.validated_data["chosen_language"] or ""
        if "usage_notices" in asked.validated_data:
            changes["wants_usage_notices"] = asked.validated_data["usage_notices"]
        if changes:
            self.customer = note_customer(self.telegram_user)
            change_settings(self.customer, **changes)
            self.language = language_for(self.customer.chosen_language, self.telegram_user.language_code)
            translation.activate(self.language)
        return Response(self._describe())

    @extend_schema(operation_id="delete_customer", responses={204: None})
    def delete(self, request: Request) -> Response:
        """Who the customer is, forgotten for good; charges stay as the books require."""
        self._count_change()
        if self.customer is not None:
            try:
                anonymise_customer(self.customer, actor="customer", reason="asked for in the settings")
            except AnonymisationRefused:
                raise api.StillOnTheWay from None
        return Response(status=204)

    def _describe(self) -> dict[str, Any]:
        return {
            "language": self.language,
            "chosen_language": (self.customer.chosen_language or None) if self.customer else None,
            "usage_notices": self.customer.wants_usage_notices if self.customer else True,
        }

    def _count_change(self) -> None:
        if wait := count_use(key=f"customer:{self.telegram_user.id}", limit=CHANGES_PER_MINUTE, seconds=60):
            raise api.RateLimited(retry_after=wait)


class CaseListView(CustomerView):
    pagination_class = api.Page

    @extend_schema(operation_id="list_cases", responses=CaseSerializer(many=True))
    def get(self, request: Request) -> Response:
        """What the customer asked support about, the latest first, with all that both sides wrote."""
        paginator = self.pagination_class()
        page = paginator.paginate_queryset(customer_cases(self.customer), request, view=self)
        return paginator.get_paginated_response([describe_case(case, self.language) for case in page])
