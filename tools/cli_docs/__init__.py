"""The reference page and the manual page of the command line, generated from the program."""
