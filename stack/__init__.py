"""`make run`: the whole stack on one machine, settings and ports checked before anything starts."""
