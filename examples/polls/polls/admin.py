"""The admin site for questions and their choices."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet, Sum
from django.http import HttpRequest

from .models import Choice, Question


class ChoiceInline(admin.TabularInline):
    """The choices, on their question's own page."""

    model = Choice
    extra = 1


@admin.register(Question)
class QuestionAdmin(admin.ModelAdmin):
    """Questions, with their choices and all their votes."""

    fieldsets = (
        (None, {"fields": ["question_text"]}),
        ("Date information", {"fields": ["pub_date"]}),
    )
    inlines = (ChoiceInline,)
    list_display = ("question_text", "pub_date", "was_published_recently", "votes")
    list_filter = ("pub_date",)
    search_fields = ("question_text",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """The questions with the sum of their votes."""
        return super().get_queryset(request).annotate(total=Sum("choice__votes", default=0))

    @admin.display(ordering="total")
    def votes(self, question: Any) -> int:
        """All votes for one question."""
        return int(question.total)
