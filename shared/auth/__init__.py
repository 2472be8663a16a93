"""Who is calling: access tokens, service tokens, key sets, revocations."""
