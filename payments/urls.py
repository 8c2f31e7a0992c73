from django.urls import path

from payments import customer_views, legal_views, views
from payments.webhook import telegram_webhook

urlpatterns = [
    path("customer", customer_views.SettingsView.as_view(), name="customer"),
    path("terms", legal_views.TermsView.as_view(), name="terms"),
    path("privacy", legal_views.PrivacyView.as_view(), name="privacy"),
    path("cases", customer_views.CaseListView.as_view(), name="cases"),
    path("telegram/stars/create-invoice", views.CreateInvoiceView.as_view(), name="create-invoice"),
    path("telegram/stars/webhook", telegram_webhook, name="telegram-webhook"),
    path("orders", views.OrderListView.as_view(), name="orders"),
    path("orders/<str:order_id>", views.OrderDetailView.as_view(), name="order"),
    path("orders/<str:order_id>/invoice-closed", views.InvoiceClosedView.as_view(), name="invoice-closed"),
    path("orders/<str:order_id>/message", views.EsimMessageView.as_view(), name="esim-message"),
]
