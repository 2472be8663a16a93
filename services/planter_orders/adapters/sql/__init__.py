"""The tables of planter-orders in SQLite or PostgreSQL; where the database cannot be reached, calls raise DependencyDown."""
