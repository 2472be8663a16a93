"""The wire types of planter-orders: what it reads, what it answers, and how an order becomes an answer."""
