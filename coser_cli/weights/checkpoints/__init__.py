"""Published checkpoints: opened safely, recognised, and their names translated."""
