from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps


class EsimshopConfig(AppConfig):
    name = "esimshop"
    verbose_name = "Shop"

    def ready(self) -> None:
        from esimshop import checks, openapi  # noqa: F401  register the system checks and the schema of initData


class BackOfficeConfig(admin_apps.AdminConfig):
    default = False
    default_site = "esimshop.staff_site.BackOfficeSite"
