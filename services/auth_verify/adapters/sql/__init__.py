"""The tables, and the ports that are kept in them."""
