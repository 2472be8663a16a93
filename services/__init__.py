"""The services of Keepsake, each of which runs on its own."""
