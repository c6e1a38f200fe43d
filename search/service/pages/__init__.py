"""The web pages: routes, templates, the login."""
