"""The list of questions, one question, its results, and a vote."""

from typing import Any

from django.db.models import F, QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views import generic

from .models import Choice, Question


def published() -> QuerySet[Question]:
    """The questions that are out, and have something to choose from."""
    questions = Question.objects.filter(pub_date__lte=timezone.now(), choice__isnull=False)
    return questions.distinct()


class IndexView(generic.ListView):
    """The newest questions."""

    template_name = "polls/index.html"
    context_object_name = "questions"

    def get_queryset(self) -> QuerySet[Question]:
        """The last five published, with their votes."""
        questions = published().annotate(total=Sum("choice__votes"))
        return questions.order_by("-pub_date")[:5]


class DetailView(generic.DetailView):
    """One question, to vote on."""

    template_name = "polls/detail.html"

    def get_queryset(self) -> QuerySet[Question]:
        """Only what is published."""
        return published()


class ResultsView(generic.DetailView):
    """How the votes for a question stand."""

    template_name = "polls/results.html"

    def get_queryset(self) -> QuerySet[Question]:
        """Only what is published."""
        return published()

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """The choices with their shares."""
        choices = list(self.object.choice_set.order_by("id"))
        total = sum(choice.votes for choice in choices)
        rows = [(choice, 100 * choice.votes / max(total, 1)) for choice in choices]
        return super().get_context_data(rows=rows, total=total, **kwargs)


def vote(request: HttpRequest, question_id: int) -> HttpResponse:
    """Count a vote, and show how things stand then."""
    question = get_object_or_404(published(), pk=question_id)
    try:
        choice = question.choice_set.get(pk=request.POST["choice"])
    except (KeyError, ValueError, Choice.DoesNotExist):
        context = {"question": question, "error_message": "You did not select a choice."}
        return render(request, "polls/detail.html", context)
    # The database adds the one: two votes at once are two votes.
    choice.votes = F("votes") + 1
    choice.save(update_fields=["votes"])
    return redirect("polls:results", pk=question.pk)
