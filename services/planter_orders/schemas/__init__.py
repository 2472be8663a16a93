"""The wire types of planter-orders: what it reads, and what it answers."""
