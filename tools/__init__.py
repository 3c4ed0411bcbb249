"""What is run on the product, and is no part of it."""
