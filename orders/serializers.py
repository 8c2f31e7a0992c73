"""The shapes of the answers about eSIMs, which `orders.documents` writes."""

from rest_framework import serializers

from catalog.serializers import PlanSerializer
from orders.models import EsimBundle

ESIM_STATES = ["preparing", "ready", "active", "used_up", "ended", "unknown"]
HISTORY_KINDS = ["bought", "topped_up", "started", "used_up", "ended", "taken_back"]


class UsageSerializer(serializers.Serializer):
    initial_mb = serializers.IntegerField(allow_null=True, help_text="MB of 1,000,000 bytes; null: unlimited.")
    remaining_mb = serializers.IntegerField(allow_null=True, help_text="Rounded up: 0 says that nothing is left.")
    unlimited = serializers.BooleanField()
    starts_at = serializers.DateTimeField(allow_null=True, help_text="First use.")
    ends_at = serializers.DateTimeField(allow_null=True)
    state = serializers.ChoiceField(EsimBundle.State.choices)


class InstallDataSerializer(serializers.Serializer):
    smdp_address = serializers.CharField()
    matching_id = serializers.CharField()
    activation_code = serializers.CharField(help_text="LPA:1$<SM-DP+ address>$<matching id>")
    qr_svg = serializers.CharField()
    apple_install_url = serializers.URLField()
    android_install_url = serializers.URLField()


class EsimSerializer(InstallDataSerializer):
    """The eSIM in an order."""

    iccid = serializers.CharField()
    installed = serializers.BooleanField(allow_null=True, help_text="Whether a phone has, or had, it; null: not told.")
    usage = UsageSerializer(allow_null=True)


class EsimBundleSerializer(serializers.Serializer):
    bundle = serializers.CharField()
    title = serializers.CharField(help_text="What was bought, for example: 10 GB, 30 days.")
    state = serializers.ChoiceField(EsimBundle.State.choices)
    initial_mb = serializers.IntegerField(allow_null=True)
    remaining_mb = serializers.IntegerField(allow_null=True)
    unlimited = serializers.BooleanField()
    starts_at = serializers.DateTimeField(allow_null=True)
    ends_at = serializers.DateTimeField(allow_null=True)
    order_id = serializers.UUIDField(allow_null=True, help_text="Which order put it there.")


class OwnEsimSerializer(serializers.Serializer):
    """An eSIM in the list of a customer's own."""

    iccid = serializers.CharField()
    order_id = serializers.UUIDField(help_text="Which order bought it.")
    plan = PlanSerializer(help_text="As it was bought.")
    state = serializers.ChoiceField(ESIM_STATES)
    installed = serializers.BooleanField(allow_null=True, help_text="Whether a phone has, or had, it; null: not told.")
    usage = UsageSerializer(allow_null=True, help_text="Of all that is usable; null while eSIM Go has told of none.")
    bundles = EsimBundleSerializer(many=True)
    updated_at = serializers.DateTimeField(allow_null=True, help_text="When eSIM Go last told of it.")


class HistoryLineSerializer(serializers.Serializer):
    at = serializers.DateTimeField()
    kind = serializers.ChoiceField(HISTORY_KINDS)
    text = serializers.CharField()


class EsimDetailSerializer(OwnEsimSerializer, InstallDataSerializer):
    history = HistoryLineSerializer(many=True, help_text="Newest first.")
    top_up_plans = PlanSerializer(
        many=True, allow_null=True, help_text="What really fits this eSIM; null: eSIM Go does not say at the moment."
    )
