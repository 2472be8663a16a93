"""planter-orders: photo orders for 3D planters, from upload to delivery."""
