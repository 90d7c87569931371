"""Names and things of which passages are made."""

from __future__ import annotations

from typing import Final

PEOPLE: Final = (
    "Anna", "Ben", "Clara", "David", "Elif", "Farid", "Grace", "Hugo", "Ines", "Jonas", "Kofi", "Lena", "Mara",
    "Nils", "Olga", "Pablo", "Rosa", "Samir", "Tara", "Umar", "Vera", "Wei", "Yuki", "Zoe",
)  # fmt: skip
SURNAMES: Final = (
    "Moreau", "Tanaka", "Okafor", "Silva", "Novak", "Haddad", "Larsen", "Rossi", "Kim", "Weber", "Costa", "Mensah",
    "Petrov", "Garcia", "Lindqvist", "Chen",
)  # fmt: skip
CITIES: Final = (
    "Lisbon", "Oslo", "Lagos", "Kyoto", "Lima", "Cairo", "Delhi", "Quito", "Porto", "Turin", "Lyon", "Gdansk",
    "Accra", "Hanoi", "Bergen", "Cusco",
)  # fmt: skip
JOBS: Final = (
    "baker", "nurse", "pilot", "teacher", "farmer", "painter", "tailor", "cook", "driver", "welder", "singer",
    "dentist", "lawyer", "miner",
)  # fmt: skip
LIKES: Final = (
    "tea", "chess", "hiking", "jazz", "films", "gardens", "coffee", "swimming", "poems", "maps", "trains", "bread",
    "kites", "clay", "dancing", "stars",
)  # fmt: skip
THINGS: Final = (
    "apples", "stamps", "marbles", "shells", "cards", "coins", "pencils", "beads", "stickers", "buttons", "candles",
    "lemons", "feathers", "ribbons", "stones", "tickets",
)  # fmt: skip
HOLDERS: Final = ("bags", "boxes", "jars", "packs", "baskets", "trays", "bowls", "crates")
GOODS: Final = ("pen", "book", "cup", "lamp", "scarf", "brush", "ball", "clock", "plate", "mirror", "rope", "basket")
DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
COLORS: Final = ("red", "blue", "green", "yellow", "white", "black", "brown", "grey", "purple", "orange")
