"""What the API's schema says that no single view knows: who may call, and how errors look."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.views import SpectacularAPIView
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from esimshop.api import ERRORS
from esimshop.init_data import SCHEME, InitDataAuthentication


class SchemaView(SpectacularAPIView):
    """The schema in YAML or JSON; errors as everywhere else, whatever the caller accepts."""

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        response = super().finalize_response(request, response, *args, **kwargs)
        if response.status_code >= 400:
            response.accepted_renderer = JSONRenderer()
            response.accepted_media_type = JSONRenderer.media_type
        return response


class InitDataScheme(OpenApiAuthenticationExtension):
    target_class = InitDataAuthentication
    name = "tmaAuth"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": f"`{SCHEME} <initData>`: Telegram.WebApp.initData as it is, for INIT_DATA_MAX_AGE seconds.",
        }


def describe_errors(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """Give each operation the errors that any of its kind may answer; a hook of drf-spectacular."""
    components = result.setdefault("components", {})
    components.setdefault("schemas", {})["Error"] = {
        "type": "object",
        "properties": {
            "code": {"type": "string", "enum": list(ERRORS)},
            "detail": {"type": "string", "description": "A sentence in the customer's language."},
            "amount_stars": {
                "type": "integer",
                "description": "With price_changed: the price of this moment.",
            },
        },
        "required": ["code", "detail"],
    }
    for path in result["paths"].values():
        for operation in path.values():
            answers = operation["responses"]
            if any(InitDataScheme.name in way for way in operation.get("security", [])):
                answers.setdefault("401", _error("init_data_invalid, or init_data_stale: open the app again."))
            answers.setdefault("default", _error("Any other error."))
    return result


def _error(description: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": description, "content": {"application/json": {"schema": schema}}}
