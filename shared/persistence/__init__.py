"""What the database and Redis need: engines, migrations, connections."""
