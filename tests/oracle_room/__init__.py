"""The oracle room: quotes, averages, marks, breakers, wrappers, pegs."""
