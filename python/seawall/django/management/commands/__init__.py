"""Management commands, for projects with `seawall.django` among their INSTALLED_APPS."""
