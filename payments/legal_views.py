"""The legal texts for everybody, in the language of `Accept-Language`."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from esimshop.api import CacheableView
from esimshop.mini_app_texts import tie
from payments.legal import LegalText, privacy, terms
from payments.serializers import LegalTextSerializer


class TermsView(CacheableView):
    @extend_schema(operation_id="get_terms", responses=LegalTextSerializer, auth=[])
    def get(self, request: Request) -> Response:
        """The terms of sale."""
        return Response(_describe(terms()))


class PrivacyView(CacheableView):
    @extend_schema(operation_id="get_privacy", responses=LegalTextSerializer, auth=[])
    def get(self, request: Request) -> Response:
        """The privacy policy."""
        return Response(_describe(privacy()))


def _describe(legal: LegalText) -> dict[str, Any]:
    return {"title": legal.title, "sections": [{"title": title, "text": tie(text)} for title, text in legal.sections]}
