"""The catalogue's addresses, under /api/."""

from django.urls import path

from catalog import views

urlpatterns = [
    path("areas", views.AreaListView.as_view(), name="areas"),
    path("areas/<str:code>", views.AreaView.as_view(), name="area"),
    path("plans", views.PlanListView.as_view(), name="plans"),
    path("plans/<str:bundle_name>", views.PlanView.as_view(), name="plan"),
    path("currencies", views.CurrencyListView.as_view(), name="currencies"),
]
