"""The catalogue's answers, as the API schema tells them. Views write the same shape by `describe_plan`: faster."""

from rest_framework import serializers

from catalog.models import Area


class PlanAreaSerializer(serializers.Serializer):
    code = serializers.CharField(help_text="ISO 3166 code, or the wholesaler's code of a region.")
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=Area.Kind.choices)


class PlanSerializer(serializers.Serializer):
    bundle = serializers.CharField(help_text="The plan's id.")
    title = serializers.CharField(help_text='As in "Türkiye, 10 GB, 30 days".')
    area = PlanAreaSerializer()
    data_mb = serializers.IntegerField(allow_null=True, help_text="MB of 1,000,000 bytes; null: unlimited.")
    days = serializers.IntegerField()
    unlimited = serializers.BooleanField()
    fair_use = serializers.CharField(allow_null=True, help_text="The daily rule of an unlimited plan.")
    speed = serializers.ListField(child=serializers.CharField())
    countries = serializers.ListField(child=serializers.CharField(), help_text="ISO codes of where it works.")
    price_stars = serializers.IntegerField(min_value=1)


class AreaSerializer(PlanAreaSerializer):
    countries = serializers.ListField(child=serializers.CharField(), help_text="ISO codes.")
    plans = serializers.IntegerField(help_text="How many are on sale.")
    from_stars = serializers.IntegerField(help_text="The cheapest.")
    search = serializers.CharField(help_text="Words in both languages by which the area is found, in lower case.")


class NetworkSerializer(serializers.Serializer):
    country = serializers.CharField(help_text="ISO code of where it is.")
    name = serializers.CharField(help_text="The brand.")
    speeds = serializers.ListField(child=serializers.CharField(), help_text="For example 4G, 5G; may be empty.")


class AreaDetailSerializer(AreaSerializer):
    networks = NetworkSerializer(many=True, help_text="On which plans work in its countries, as far as known.")


class CurrencySerializer(serializers.Serializer):
    code = serializers.CharField(help_text="ISO 4217.")
    per_usd = serializers.CharField(help_text="How much of it is about one US dollar: a decimal number.")
    updated_at = serializers.DateTimeField(allow_null=True, help_text="null: of the dollar itself.")


class CurrencyListSerializer(serializers.Serializer):
    results = CurrencySerializer(many=True)


class ErrorSerializer(serializers.Serializer):
    code = serializers.CharField()
    detail = serializers.CharField(help_text="A sentence in the customer's language.")
