"""The agent in flash: reconcile, API, boot stages."""
