"""The polls example: a project like that of the Django tutorial."""
