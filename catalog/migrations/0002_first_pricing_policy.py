from django.db import migrations


def add_first_policy(apps, schema_editor):
    """A row with the defaults, so that the first order has a policy to point at."""
    PricingPolicy = apps.get_model("catalog", "PricingPolicy")
    if not PricingPolicy.objects.exists():
        PricingPolicy.objects.create(reason="Defaults")


class Migration(migrations.Migration):
    dependencies = [("catalog", "0001_initial")]

    operations = [migrations.RunPython(add_first_policy, migrations.RunPython.noop)]
