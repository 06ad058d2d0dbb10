"""The steps, in the order in which they name each other."""
