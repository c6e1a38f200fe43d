"""Folders of images: how they lie, what is in them, and how a file becomes pixels."""
