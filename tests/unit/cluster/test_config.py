from __future__ import annotations

from pathlib import Path

import pytest

from sampan.base.errors import SampanError
from sampan.cluster import asked, config
from sampan.cluster.asked import Wanted
from sampan.cluster.config import Layout, Settings, free_ranges

MADE = Settings(id="ab12", port=7443, runtime="simulated", nodes=3)


def test_settings_come_back_as_they_were_saved(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "data")
    assert config.load(layout) is None
    config.save(layout, MADE)
    assert config.load(layout) == MADE
    assert [p.name for p in layout.root.iterdir()] == ["config.json"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"port": 1}', '{"id": "a", "port": "x"}', '{"id": "a", "x": 1}']
)
def test_a_damaged_file_is_named_with_the_mend(tmp_path: Path, text: str) -> None:
    layout = Layout(tmp_path)
    layout.config.write_text(text)
    with pytest.raises(SampanError, match=r"config\.json is damaged .* `sampan down --delete --data-dir"):
        config.load(layout)


def test_a_foreign_directory_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("dear")
    with pytest.raises(SampanError, match=r"'thesis\.tex' and no config\.json"):
        asked.settle(Layout(tmp_path), Wanted(runtime="simulated"))
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(SampanError, match="is not a directory"):
        asked.settle(Layout(tmp_path / "thesis.tex"), Wanted(runtime="simulated"))


def test_a_cluster_keeps_what_cannot_change_and_takes_what_can(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    config.save(layout, MADE)
    assert asked.settle(layout, Wanted()) == MADE
    grown = asked.settle(layout, Wanted(nodes=5, runtime="simulated"))
    assert (grown.nodes, grown.id, grown.port) == (5, "ab12", 7443)
    assert config.load(layout) == grown
    with pytest.raises(SampanError, match="runtime simulated and cannot become process"):
        asked.settle(layout, Wanted(runtime="process"))


@pytest.mark.parametrize(
    ("routes", "found"),
    [
        ([], ("10.244.0.0/16", "10.96.0.0/16")),
        (["192.168.0.0/16"], ("10.244.0.0/16", "10.96.0.0/16")),
        (["10.244.3.0/24"], ("10.243.0.0/16", "10.96.0.0/16")),
        (["10.96.0.0/12"], ("10.244.0.0/16", "10.112.0.0/16")),
        (["10.244.0.1/15"], ("10.243.0.0/16", "10.96.0.0/16")),
    ],
)
def test_ranges_that_no_route_uses(routes: list[str], found: tuple[str, str]) -> None:
    assert free_ranges(routes) == found


def test_no_range_left() -> None:
    with pytest.raises(SampanError, match="routed on this machine already"):
        free_ranges(["10.0.0.0/8"])


def test_addresses_of_a_cluster() -> None:
    settings = Settings(id="ab12", nodes=2)
    assert (settings.service_ip, settings.dns_ip) == ("10.96.0.1", "10.96.0.10")
    assert settings.node_names() == ("node-1", "node-2")
    assert settings.pod_subnet(1) == "10.244.1.0/24"
    assert settings.node_ip(1) == "10.244.1.1"
    assert MADE.node_ip(1) == "127.0.0.1"
    assert len(Settings(id="ffff").bridge(255)) <= 15
