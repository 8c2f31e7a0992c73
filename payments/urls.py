from django.urls import path

from payments import views
from payments.webhook import telegram_webhook

urlpatterns = [
    path("telegram/stars/create-invoice", views.CreateInvoiceView.as_view(), name="create-invoice"),
    path("telegram/stars/webhook", telegram_webhook, name="telegram-webhook"),
    path("orders", views.OrderListView.as_view(), name="orders"),
    path("orders/<str:order_id>", views.OrderDetailView.as_view(), name="order"),
    path("orders/<str:order_id>/invoice-closed", views.InvoiceClosedView.as_view(), name="invoice-closed"),
    path("orders/<str:order_id>/message", views.EsimMessageView.as_view(), name="esim-message"),
]
