"""Options of the command line, declared once and grouped by what they are about."""
