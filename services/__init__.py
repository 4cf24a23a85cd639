"""What runs: the transport, the services behind it and the command that serves them."""
