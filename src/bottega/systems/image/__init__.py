"""Systems that make pictures and edit them."""
