import django.core.validators
from django.db import migrations, models

# They are told by the API as plans and areas are; see 0003.
TABLES = ("catalog_network", "catalog_currencyrate")
CREATE_TRIGGERS = [
    f"CREATE TRIGGER new_version AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table}"
    " FOR EACH STATEMENT EXECUTE FUNCTION catalog_new_version()"
    for table in TABLES
]
DROP_TRIGGERS = [f"DROP TRIGGER new_version ON {table}" for table in TABLES]


class Migration(migrations.Migration):
    dependencies = [("catalog", "0006_mini_app")]

    operations = [
        migrations.AddField(
            model_name="catalogsync",
            name="networks_total",
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.AlterField(
            model_name="catalogsync",
            name="skipped",
            field=models.JSONField(default=list, help_text="Bundles and networks that made no sense, and why."),
        ),
        migrations.AlterField(
            model_name="currencyrate",
            name="code",
            field=models.CharField(
                help_text="ISO 4217, for example EUR.",
                max_length=3,
                primary_key=True,
                serialize=False,
                validators=[
                    django.core.validators.RegexValidator(
                        "^(?!USD)[A-Z]{3}$", "Three capital letters, and not USD, which is always one."
                    )
                ],
            ),
        ),
        migrations.RunSQL(CREATE_TRIGGERS, DROP_TRIGGERS),
    ]
