"""Sizes of Painter, published and for the world of lessons."""

from __future__ import annotations

from dataclasses import dataclass

from bottega.networks import PainterConfig
from bottega.processes.painting import LocationColors, PointBrush
from bottega.room import Preset
from bottega.worlds.lessons import JOINTS
from bottega.worlds.shapes import figure_classes

COCO_JOINTS = (
    "nose", "left eye", "right eye", "left ear", "right ear", "left shoulder", "right shoulder", "left elbow",
    "right elbow", "left wrist", "right wrist", "left hip", "right hip", "left knee", "right knee", "left ankle",
    "right ankle",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class PainterTasksConfig:
    """The network, and how answers are painted.

    Args:
        network: The network, without type tokens.
        classes: Classes that have a colour; the authors' palette of ADE20K has 150, that of COCO 133.
        class_names: Their names, in order; empty where they have numbers only.
        stuff: Numbers of the classes that are no things.
        joints: Names of the key points, in order; "left ..." and "right ..." change places in a mirror.
        locations: The colours of things.
        brush: The dots of key points, as many as there are joints.
        farthest: The depth in metres that is white.
    """

    network: PainterConfig
    classes: int = 150
    class_names: tuple[str, ...] = ()
    stuff: tuple[int, ...] = ()
    joints: tuple[str, ...] = COCO_JOINTS
    locations: LocationColors = LocationColors()
    brush: PointBrush = PointBrush()
    farthest: float = 10.0

    def __post_init__(self) -> None:
        if self.network.typed:
            raise ValueError("network is typed, but only SegGPT has type tokens")
        if self.classes < 1 or any(not 0 <= number < self.classes for number in self.stuff):
            raise ValueError(f"stuff {self.stuff} must be numbers of the {self.classes} classes")
        if self.class_names and len(self.class_names) != self.classes:
            raise ValueError(f"{len(self.class_names)} class_names do not fit {self.classes} classes")
        if self.brush.count != len(self.joints):
            raise ValueError(f"brush paints {self.brush.count} points, but there are {len(self.joints)} joints")
        if self.farthest <= 0:
            raise ValueError(f"farthest is {self.farthest} m, but it must be above 0")

    @property
    def mirror_pairs(self) -> tuple[tuple[int, int], ...]:
        """Numbers of the joints that change places in a mirror."""
        others = [(name, name.replace("left ", "right ", 1)) for name in self.joints if name.startswith("left ")]
        return tuple((self.joints.index(left), self.joints.index(right)) for left, right in others)


_CLASS_NAMES = ("ground", *(kind.name for kind in figure_classes()))

TINY = PainterTasksConfig(
    network=PainterConfig(
        size=64, patch_size=8, width=160, depth=7, num_heads=5, merge_index=1, taps=(2, 4, 5, 6), decoder_width=16,
        position_rows=8, drop_path=0.0,
    ),
    classes=len(_CLASS_NAMES),
    class_names=_CLASS_NAMES,
    stuff=(0,),
    joints=JOINTS,
    locations=LocationColors(coarse=1, fine=16),
    brush=PointBrush(count=len(JOINTS), spread=1.5, reach=2.5),
)  # fmt: skip

PRESETS = {
    "vit_l": Preset(
        config=PainterTasksConfig(network=PainterConfig()),
        parameters=370_721_155,
        source="arXiv:2212.02499, section 4.1; the authors' painter_vit_large_patch16_input896x448_win_dec64_8glb_sl1",
    ),
    "tiny": Preset(
        config=TINY, parameters=2_876_131, source="this size is ours: 64-pixel scenes of shapes on two CPU cores"
    ),
}
"""Sizes by name."""
