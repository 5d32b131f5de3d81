"""Polls that people can vote in, and an admin site to add and change them."""
