"""Comparison with golden numbers: `python -m coser_cli.parity DIR`."""
