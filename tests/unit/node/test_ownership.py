from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sampan.node.volumes.ownership import ON_ROOT_MISMATCH, own

GROUP = os.getgid()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def tree(root: Path) -> Path:
    (root / "d").mkdir(mode=0o700)
    (root / "d" / "file").write_text("x")
    (root / "d" / "file").chmod(0o600)
    (root / "link").symlink_to("/nonexistent")
    root.chmod(0o755)
    return root


def test_directories_and_files_become_the_groups_and_links_are_not_followed(tmp_path: Path) -> None:
    own(tree(tmp_path), GROUP, None)
    assert mode(tmp_path) == 0o2775
    assert mode(tmp_path / "d") == 0o2770
    assert mode(tmp_path / "d" / "file") == 0o660
    assert {p.lstat().st_gid for p in (tmp_path, *tmp_path.rglob("*"))} == {GROUP}


@pytest.mark.parametrize(
    ("policy", "expected"), [(ON_ROOT_MISMATCH, 0o600), ("Always", 0o660), (None, 0o660)]
)
def test_a_root_that_is_right_already_is_enough_where_the_pod_says_so(
    tmp_path: Path, policy: str | None, expected: int
) -> None:
    tree(tmp_path).chmod(0o2775)
    own(tmp_path, GROUP, policy)
    assert mode(tmp_path / "d" / "file") == expected
