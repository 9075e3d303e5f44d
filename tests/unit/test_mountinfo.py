"""Mount points as the kernel writes them."""

from __future__ import annotations

from sampan.base.mountinfo import mount_point, mounts_below

LINE = "29 1 8:1 / {} rw,relatime shared:1 - ext4 /dev/vda rw"


def _info(*points: str) -> bytes:
    return "\n".join(LINE.format(point) for point in points).encode()


def test_points_below_come_innermost_first() -> None:
    info = _info("/", "/data", "/data/a\\040b", "/data/a\\040b/deep", "/database")
    assert mounts_below(info, "/data") == ["/data/a b/deep", "/data/a b", "/data"]
    assert mounts_below(info, "/data/") == mounts_below(info, "/data")


def test_names_beyond_ascii_and_octal_blanks_are_read() -> None:
    assert mount_point(_info("/home/jos\u00e9/\\011tab\\134back")) == "/home/jos\u00e9/\ttab\\back"
