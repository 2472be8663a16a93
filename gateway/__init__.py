"""The one door: checks who calls, what and how much, and passes it on to the service that answers."""
