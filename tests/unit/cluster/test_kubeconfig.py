from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from sampan.base.errors import SampanError
from sampan.cluster import credentials, kubeconfig
from sampan.cluster.config import Layout, Settings

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SETTINGS = Settings(id="ab12", port=7443, runtime="simulated")
THEIRS: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Config",
    "preferences": {"colors": True},
    "extensions": [{"name": "minikube.sigs.k8s.io", "extension": {"last-update": "2024-01-01", "n": 3}}],
    "clusters": [{"name": "work", "cluster": {"server": "https://work:6443", "tls-server-name": "on"}}],
    "users": [
        {
            "name": "work",
            "user": {
                "exec": {
                    "apiVersion": "client.authentication.k8s.io/v1",
                    "command": "aws",
                    "args": ["eks", "get-token", "--x", "010"],
                    "env": [{"name": "AWS_PROFILE", "value": "yes"}],
                    "interactiveMode": "Never",
                }
            },
        }
    ],
    "contexts": [{"name": "work", "context": {"cluster": "work", "user": "work", "namespace": "ünï"}}],
    "current-context": "work",
}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "data")
    credentials.ensure(made, SETTINGS, NOW)
    return made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "kube" / "config"
    made.parent.mkdir()
    made.write_text(yaml.safe_dump(THEIRS))
    return made


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def names(document: Any) -> set[str]:
    return {entry["name"] for part in ("clusters", "users", "contexts") for entry in document[part]}


def test_others_stay_as_they_are(layout: Layout, path: Path) -> None:
    for _ in range(2):  # again changes nothing
        kubeconfig.merge(path, layout, SETTINGS, "sampan")
    merged = read(path)
    assert merged["current-context"] == "sampan"
    assert path.stat().st_mode & 0o777 == 0o600
    for section in ("clusters", "users", "contexts"):
        assert [e["name"] for e in merged[section]] == ["work", "sampan"]
        merged[section].pop()
    assert {**merged, "current-context": "work"} == THEIRS


def test_taking_out_gives_back_what_was_there(layout: Layout, path: Path) -> None:
    kubeconfig.merge(path, layout, SETTINGS, "sampan")
    kubeconfig.remove_cluster(path, layout)
    assert read(path) == THEIRS


def test_taking_out_leaves_another_cluster_on_the_same_port_alone(layout: Layout, path: Path) -> None:
    theirs = {
        **THEIRS,
        "clusters": [{"name": "work", "cluster": {"server": kubeconfig.server_url(SETTINGS)}}],
    }
    path.write_text(yaml.safe_dump(theirs))
    before = path.read_bytes()
    kubeconfig.remove_cluster(path, layout)
    assert path.read_bytes() == before


def test_a_user_without_a_kubeconfig_gets_one(layout: Layout, tmp_path: Path) -> None:
    path = tmp_path / "new" / "config"
    kubeconfig.merge(path, layout, SETTINGS, "sampan")
    assert read(path) == {**read(layout.kubeconfig), "current-context": "sampan"}
    kubeconfig.remove_cluster(path, layout)
    assert names(read(path)) == set()
    assert read(path)["current-context"] == ""


def test_a_link_stays_a_link(layout: Layout, path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(path)
    kubeconfig.merge(link, layout, SETTINGS, "sampan")
    assert link.is_symlink()
    assert names(read(path)) == {"work", "sampan"}


@pytest.mark.parametrize(
    "text",
    [
        "- a\n- b\n",
        "a: [",
        "just words",
        "clusters: 3\n",
        "clusters: [words]\n",
        "clusters: [{name: a, cluster: 3}]\n",
    ],
)
def test_what_is_no_kubeconfig_is_left_alone(layout: Layout, path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(SampanError, match=r"mend it, or use --no-merge"):
        kubeconfig.merge(path, layout, SETTINGS, "sampan")
    with pytest.raises(SampanError, match=r"mend it, or use --no-merge"):
        kubeconfig.remove_cluster(path, layout)
    assert kubeconfig.context_name(path, SETTINGS, "sampan") == "sampan"
    assert path.read_text() == text


def test_the_name_is_changed_only_where_another_cluster_has_it(layout: Layout, path: Path) -> None:
    assert kubeconfig.context_name(path, SETTINGS, "sampan") == "sampan"
    assert kubeconfig.context_name(path, SETTINGS, "work") == "work-ab12"
    kubeconfig.merge(path, layout, SETTINGS, "sampan")
    assert kubeconfig.context_name(path, SETTINGS, "sampan") == "sampan"
    assert kubeconfig.context_name(path.with_name("none"), SETTINGS, "sampan") == "sampan"


def test_the_file_is_the_first_that_kubeconfig_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", f":{tmp_path}/a:{tmp_path}/b")
    assert kubeconfig.user_config_path() == tmp_path / "a"
    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert kubeconfig.user_config_path() == tmp_path / ".kube" / "config"


def test_who_holds_the_lock_is_waited_for_and_then_named(
    layout: Layout, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubeconfig, "LOCK_WAIT_S", 0.0)
    before = path.read_bytes()
    lock = path.with_name(path.name + ".lock")
    lock.touch()
    with pytest.raises(SampanError, match=rf"locked by another program; if none is running, remove {lock}"):
        kubeconfig.merge(path, layout, SETTINGS, "sampan")
    assert path.read_bytes() == before
    lock.unlink()
    kubeconfig.merge(path, layout, SETTINGS, "sampan")
    assert not lock.exists()
