"""auth-verify: users, their sessions and tokens, and organisations with their members."""
