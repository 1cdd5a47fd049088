"""The engine from map to map, for a picture that is too large to be in memory at once."""
