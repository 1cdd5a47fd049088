"""Checkpoints and models on disk: published names, folder layout."""
