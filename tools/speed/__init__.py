"""``make bench``: our training, testing and loading against the loop that people use."""
