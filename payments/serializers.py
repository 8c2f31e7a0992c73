"""Bodies that the payments' API takes, and the shapes of its answers (which `payments.documents` writes)."""

from typing import Any

from django.core.validators import RegexValidator
from rest_framework import serializers

from catalog.serializers import PlanSerializer
from esimshop.languages import LANGUAGES
from orders.models import Order
from orders.serializers import EsimSerializer
from payments.models import Case


class TextField(serializers.CharField):
    """A JSON string: a number is none, although it could be read as one."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class StrictSerializer(serializers.Serializer):
    """A body in which an unknown field is a mistake."""

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        unknown = set(self.initial_data) - set(self.fields)
        if unknown:
            raise serializers.ValidationError({min(unknown)[:50]: "unknown field"})
        return attrs


class FlagField(serializers.BooleanField):
    """A JSON boolean: neither a number nor a word that could be read as one."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class CreateInvoiceSerializer(StrictSerializer):
    plan = TextField(max_length=100, help_text="Bundle name of a plan on sale.")
    expected_stars = serializers.IntegerField(required=False, min_value=1, max_value=10_000_000)
    iccid = TextField(
        required=False, validators=[RegexValidator(r"^[0-9]{18,22}\Z")], help_text="Own eSIM, for a top-up."
    )


class CreatedInvoiceSerializer(serializers.Serializer):
    order_id = serializers.UUIDField()
    invoice_link = serializers.URLField()
    amount_stars = serializers.IntegerField()
    currency = serializers.CharField(default="XTR")
    expires_at = serializers.DateTimeField()


class InvoiceClosedSerializer(serializers.Serializer):
    status = serializers.ChoiceField(["paid", "cancelled", "failed", "pending"])


class InvoiceSerializer(serializers.Serializer):
    invoice_link = serializers.URLField()
    expires_at = serializers.DateTimeField()


class OrderSerializer(serializers.Serializer):
    order_id = serializers.UUIDField()
    status = serializers.ChoiceField(Order.Status.choices)
    message = serializers.CharField(help_text="What is going on, in the customer's language.")
    plan = PlanSerializer()
    amount_stars = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    paid_at = serializers.DateTimeField(allow_null=True)
    promise_at = serializers.DateTimeField(allow_null=True)
    completed_at = serializers.DateTimeField(allow_null=True)
    refunded_at = serializers.DateTimeField(allow_null=True)
    delivery = serializers.ChoiceField(["pending", "sent", "blocked"])
    invoice = InvoiceSerializer(allow_null=True)
    esim = EsimSerializer(allow_null=True)
    top_up_iccid = serializers.CharField(allow_null=True, help_text="The own eSIM that it tops up; null for a new one.")


class OrderFilterSerializer(serializers.Serializer):
    """What `GET /api/orders` may be narrowed to; `status` may come several times."""

    status = serializers.MultipleChoiceField(choices=Order.Status.choices, required=False)


class CustomerSerializer(serializers.Serializer):
    language = serializers.ChoiceField(LANGUAGES, help_text="The one that the shop and the bot speak.")
    chosen_language = serializers.ChoiceField(LANGUAGES, allow_null=True, help_text="Null: Telegram's.")
    usage_notices = serializers.BooleanField(help_text="The bot tells of data and days that run out.")


class ChangeCustomerSerializer(StrictSerializer):
    chosen_language = serializers.ChoiceField(LANGUAGES, required=False, allow_null=True)
    usage_notices = FlagField(required=False)


class CaseMessageSerializer(serializers.Serializer):
    author = serializers.ChoiceField(["customer", "support", "shop"])
    text = serializers.CharField()
    at = serializers.DateTimeField()


class CaseSerializer(serializers.Serializer):
    case_id = serializers.IntegerField()
    status = serializers.ChoiceField(Case.Status.choices)
    reason = serializers.ChoiceField(Case.Reason.choices)
    title = serializers.CharField(help_text="What it is about, in the customer's language.")
    order_id = serializers.UUIDField(allow_null=True)
    opened_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    messages = CaseMessageSerializer(many=True, help_text="Oldest first.")


class LegalSectionSerializer(serializers.Serializer):
    title = serializers.CharField()
    text = serializers.CharField()


class LegalTextSerializer(serializers.Serializer):
    title = serializers.CharField()
    sections = LegalSectionSerializer(many=True)
