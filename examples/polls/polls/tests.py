"""Tests of the polls, as the tutorial writes them: pages, votes, the admin."""

import datetime

from django.contrib.auth.models import User
from django.test import TestCase
from django.urls import reverse
from django.utils import timezone

from .models import Choice, Question


def create_question(text: str, days: int, *choices: str) -> Question:
    """A question published `days` from now (before now, if negative)."""
    published = timezone.now() + datetime.timedelta(days=days)
    question = Question.objects.create(question_text=text, pub_date=published)
    for choice in choices:
        Choice.objects.create(question=question, choice_text=choice)
    return question


class QuestionTests(TestCase):
    """Which questions count as recent."""

    def test_recently_published(self) -> None:
        """Within the last day, and not in the future."""
        cases = [(-2, False), (-0.5, True), (1, False)]
        for days, recent in cases:
            with self.subTest(days=days):
                published = timezone.now() + datetime.timedelta(days=days)
                self.assertIs(Question(pub_date=published).was_published_recently(), recent)


class PagesTests(TestCase):
    """What visitors see."""

    def test_no_questions(self) -> None:
        """An empty site says so."""
        self.assertContains(self.client.get(reverse("polls:index")), "No polls are available.")

    def test_only_published_questions_with_choices(self) -> None:
        """The future, and what cannot be answered, stays hidden."""
        past = create_question("Past?", -1, "yes")
        future = create_question("Future?", 1, "yes")
        create_question("No choice?", -1)
        response = self.client.get(reverse("polls:index"))
        self.assertQuerySetEqual(response.context["questions"], [past])
        for page in ("polls:detail", "polls:results"):
            self.assertEqual(self.client.get(reverse(page, args=[past.pk])).status_code, 200)
            self.assertEqual(self.client.get(reverse(page, args=[future.pk])).status_code, 404)


class VoteTests(TestCase):
    """What a vote does."""

    def setUp(self) -> None:
        """One question with two choices."""
        self.question = create_question("Sea or sky?", -1, "sea", "sky")
        self.sea, self.sky = self.question.choice_set.order_by("id")
        self.url = reverse("polls:vote", args=[self.question.pk])

    def test_a_vote_counts(self) -> None:
        """It is added to its choice, and leads to the results."""
        for _ in range(2):
            response = self.client.post(self.url, {"choice": self.sea.pk}, follow=True)
        self.assertContains(response, 'data-votes="2"')
        self.sea.refresh_from_db()
        self.sky.refresh_from_db()
        self.assertEqual((self.sea.votes, self.sky.votes), (2, 0))

    def test_no_choice(self) -> None:
        """A vote for nothing gets a message, and changes nothing."""
        for data in ({}, {"choice": "0"}, {"choice": "sea"}):
            response = self.client.post(self.url, data)
            self.assertContains(response, "You did not select a choice.")
        self.assertFalse(Choice.objects.filter(votes__gt=0).exists())


class AdminTests(TestCase):
    """Who may write questions."""

    def test_a_question_with_its_choices(self) -> None:
        """The admin saves both on one page."""
        self.client.force_login(User.objects.create_superuser("admin"))
        data = {
            "question_text": "New?",
            "pub_date_0": "2026-01-01",
            "pub_date_1": "12:00:00",
            "choice_set-TOTAL_FORMS": "1",
            "choice_set-INITIAL_FORMS": "0",
            "choice_set-0-choice_text": "Yes",
            "choice_set-0-votes": "7",
        }
        response = self.client.post(reverse("admin:polls_question_add"), data, follow=True)
        self.assertContains(response, "was added successfully")
        self.assertContains(response, '<td class="field-votes">7</td>', html=True)
        self.assertEqual(Choice.objects.get().question.question_text, "New?")
