"""Tasks that wait for each other, work in the background, work on files."""
