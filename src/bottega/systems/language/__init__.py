"""Language models and what is built on them."""
