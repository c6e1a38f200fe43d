"""Searches as processes of their own: how they are asked for, started, followed and ended."""
