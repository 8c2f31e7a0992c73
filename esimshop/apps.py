from django.apps import AppConfig


class EsimshopConfig(AppConfig):
    name = "esimshop"
    verbose_name = "Shop"

    def ready(self) -> None:
        from esimshop import checks, openapi  # noqa: F401  register the system checks and the schema of initData
