"""What the documentation shows is what is printed."""
