"""What can be asked of the house, from captured copies where asking takes time."""
