"""What auth-verify keeps and asks: SQL, Redis, memory, argon2."""
