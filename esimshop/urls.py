from django.contrib import admin
from django.urls import include, path

from esimshop.act_views import act_page
from esimshop.faq import FaqView
from esimshop.openapi import SchemaView
from payments import health
from payments.back_office_views import find_page
from payments.metrics import metrics
from payments.mini_app import mini_app
from payments.report_views import reports_page

urlpatterns = [
    path("", mini_app, name="mini-app"),
    path("api/", include("catalog.urls")),
    path("api/", include("orders.urls")),
    path("api/", include("payments.urls")),
    path("api/faq", FaqView.as_view(), name="faq"),
    path("api/schema", SchemaView.as_view(), name="schema"),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
    path("admin/acts/<slug:name>/", admin.site.admin_view(act_page), name="admin-act"),
    path("admin/reports/", admin.site.admin_view(reports_page), name="admin-reports"),
    path("admin/find/", admin.site.admin_view(find_page), name="admin-find"),
    path("admin/", admin.site.urls),
]

handler400 = "esimshop.api.answer_bad_request"
handler404 = "esimshop.api.answer_unknown_path"
