from decimal import Decimal

from django.db import migrations

# Rough ones, of the end of 2025: they only say about how much a price is, and staff edit them in the admin.
PER_USD = {
    "AED": "3.67",
    "AMD": "382",
    "AUD": "1.53",
    "AZN": "1.7",
    "BRL": "5.4",
    "BYN": "3",
    "CAD": "1.4",
    "CHF": "0.8",
    "CNY": "7.1",
    "CZK": "21",
    "EUR": "0.86",
    "GBP": "0.76",
    "GEL": "2.7",
    "ILS": "3.25",
    "INR": "89",
    "JPY": "156",
    "KGS": "87.5",
    "KRW": "1460",
    "KZT": "520",
    "MDL": "17",
    "PLN": "3.65",
    "RSD": "101",
    "RUB": "80",
    "SEK": "9.5",
    "THB": "32",
    "TRY": "42",
    "UAH": "42",
    "UZS": "12000",
}


def add_rates(apps, schema_editor):
    CurrencyRate = apps.get_model("catalog", "CurrencyRate")
    for code, per_usd in PER_USD.items():
        CurrencyRate.objects.get_or_create(code=code, defaults={"per_usd": Decimal(per_usd)})


class Migration(migrations.Migration):
    dependencies = [("catalog", "0007_networks_and_rates")]

    operations = [migrations.RunPython(add_rates, migrations.RunPython.noop)]
