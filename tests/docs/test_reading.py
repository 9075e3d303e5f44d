"""The reader of pages itself."""

from __future__ import annotations

import pytest

from tests.docs import pages

PAGE = """
```console
$ not run
```

```console test containers
$ export A=1
$ echo $A \\
    two
1 two
```

```python file=app.py
x = 1
```

```python test
print(2)
```
"""


def test_blocks() -> None:
    assert [(b.language, b.file) for b in pages.blocks(PAGE)] == [
        ("console", ""),
        ("python", "app.py"),
        ("python", ""),
    ]
    assert pages.needs_containers(PAGE)
    assert pages.files(PAGE) == {"app.py": "x = 1\n", "block_2.py": "print(2)\n"}
    assert [s.command for s in pages.steps(PAGE)] == ["export A=1", "echo $A two", "python block_2.py"]
    assert pages.steps(PAGE)[1].shown == ("1 two",)


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        (("a  b",), "a b\n", True),
        (("a",), "b\n", False),
        (("a",), "a\nb\n", False),
        ((), "", True),
        ((), "a\n", False),
        (("a …",), "a 5s\n", True),
        (("a …",), "a 5s\nmore\n", False),
        (("…",), "", True),
        (("a", "…"), "a\nb\nc\n", True),
        (("…", "c"), "a\nb\n", False),
    ],
)
def test_shows(shown: tuple[str, ...], printed: str, same: bool) -> None:
    assert pages.shows(shown, printed) is same
