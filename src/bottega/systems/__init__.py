"""The rooms: one folder for each published system, in a folder for each family. Only the catalog imports them."""
