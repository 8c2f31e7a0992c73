"""Questions and answers: one source for the repository's readers and the Mini App, docs/faq.*.md."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.conf import settings
from django.utils.translation import get_language
from drf_spectacular.utils import extend_schema
from markdown_it import MarkdownIt
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from esimshop.api import CacheableView
from esimshop.languages import Language, language_of
from esimshop.mini_app_texts import tie


@cache
def read_faq(language: Language) -> dict[str, Any]:
    """The questions in the shape of FaqSerializer: `## section`, `### question`, and the answer below it.

    The answers are HTML that the source's Markdown makes; HTML in the source stays text.
    """
    source = (settings.BASE_DIR / "docs" / f"faq.{language}.md").read_text(encoding="utf-8")
    markdown = MarkdownIt("commonmark", {"html": False})
    sections: list[dict[str, Any]] = []
    for part in source.split("\n## ")[1:]:
        title, *questions = part.split("\n### ")
        answers = (question.split("\n", 1) for question in questions)
        sections.append(
            {
                "title": title.strip(),
                "questions": [
                    {
                        "question": tie(question.strip()),
                        "answer_html": tie(markdown.render(answer).strip().replace("\n", " ")),
                    }
                    for question, answer in answers
                ],
            }
        )
    return {"sections": sections}


class QuestionSerializer(serializers.Serializer):
    question = serializers.CharField()
    answer_html = serializers.CharField(help_text="p, ul, ol, li, strong, em, code and a only.")


class FaqSectionSerializer(serializers.Serializer):
    title = serializers.CharField()
    questions = QuestionSerializer(many=True)


class FaqSerializer(serializers.Serializer):
    sections = FaqSectionSerializer(many=True)


class FaqView(CacheableView):
    @extend_schema(operation_id="get_faq", responses=FaqSerializer, auth=[])
    def get(self, request: Request) -> Response:
        """Questions and answers, in the language of `Accept-Language`."""
        return Response(read_faq(language_of(get_language())))
