"""What commands write: text, tables and JSON Lines."""
