"""What every process starts from: routes, middleware, lifecycle, the built-in endpoints, and the server."""
