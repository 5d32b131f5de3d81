"""The Django database backend: `"ENGINE": "seawall.django"`."""
