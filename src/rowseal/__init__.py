"""A sealed token goes in, only the permitted rows come out."""
