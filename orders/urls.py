"""Addresses of eSIMs, under /api/."""

from django.urls import path

from orders import views
from orders.callback_view import esimgo_callback

urlpatterns = [
    path("esims", views.EsimListView.as_view(), name="esims"),
    path("esims/<str:iccid>", views.EsimDetailView.as_view(), name="esim"),
    path("esimgo/callback", esimgo_callback, name="esimgo-callback"),
]
