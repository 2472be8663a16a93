"""HTTP below the application: connections, request heads, bodies, conditions, problems."""
