"""Jobs shared out among processes of other devices or machines."""
