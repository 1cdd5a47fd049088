"""Pages to look at results: self-contained HTML, which needs no network."""
