"""The REST API and the web pages. No torch, no ray: what needs them runs in other processes."""
