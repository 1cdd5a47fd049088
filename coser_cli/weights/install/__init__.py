"""From files to installed models."""
