"""`coser serve`: a process that keeps models loaded for the commands of one user."""
