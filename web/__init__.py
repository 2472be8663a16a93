"""What people see: the pages of the gateway and the demo shop."""
