"""What goes over the wire: decimal strings for integers, both ways, and problems for refusals."""
