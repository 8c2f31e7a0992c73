from django.db import migrations, models

# Statements, not rows: a sync of all plans sets it once or twice.
CREATE_TRIGGERS = [
    """
    CREATE FUNCTION catalog_new_version() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO catalog_catalogueversion (id, version) VALUES (1, gen_random_uuid())
        ON CONFLICT (id) DO UPDATE SET version = excluded.version;
        RETURN NULL;
    END $$
    """,
    *(
        f"CREATE TRIGGER new_version AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table}"
        " FOR EACH STATEMENT EXECUTE FUNCTION catalog_new_version()"
        for table in ("catalog_plan", "catalog_area")
    ),
    "INSERT INTO catalog_catalogueversion (id, version) VALUES (1, gen_random_uuid())",
]
DROP_TRIGGERS = [
    "DROP TRIGGER new_version ON catalog_plan",
    "DROP TRIGGER new_version ON catalog_area",
    "DROP FUNCTION catalog_new_version()",
]


class Migration(migrations.Migration):
    dependencies = [("catalog", "0002_first_pricing_policy")]

    operations = [
        migrations.CreateModel(
            name="CatalogueVersion",
            fields=[
                (
                    "id",
                    models.PositiveSmallIntegerField(default=1, editable=False, primary_key=True, serialize=False),
                ),
                ("version", models.UUIDField()),
            ],
            options={
                "constraints": [models.CheckConstraint(condition=models.Q(("id", 1)), name="one_catalogue_version")],
            },
        ),
        migrations.RunSQL(CREATE_TRIGGERS, DROP_TRIGGERS),
    ]
