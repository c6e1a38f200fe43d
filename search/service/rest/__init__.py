"""The REST API: its routes."""
