"""The outside, each named for its technology."""
