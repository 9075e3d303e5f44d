"""What users type wrongly: exit status 1 and one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from sampan.cli.main import main
from sampan.cluster import config
from sampan.cluster.config import Layout, Settings


@pytest.mark.parametrize(
    "arguments",
    [
        ["sail"],
        ["up", "--nodes", "0"],
        ["up", "--nodes", "many"],
        ["up", "--nodes", "²"],
        ["up", "--port", "65536"],
        ["up", "--runtime", "docker"],
        ["up", "--load-balancer-pool", "10.0.0.9-10.0.0.1"],
        ["up", "--load-balancer-pool", "nonsense"],
        ["up", "--kubernetes-version", "0.9"],
        ["up", "--what"],
        ["down", "now"],
        ["logs"],
        ["image"],
        ["image", "push"],
    ],
)
def test_bad_flags(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert told.err.startswith("sampan")
    assert told.err.endswith("--help`.\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["kubeconfig"],
        ["logs", "apiserver"],
        ["image", "ls"],
        ["image", "import", "x.tar"],
        ["explain", "pod", "web"],
    ],
)
def test_without_a_cluster(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = tmp_path / "none"
    assert main([*arguments, "--data-dir", str(where)]) == 1
    told = capsys.readouterr()
    assert told.err == f"sampan: There is no cluster in {where}; make one with `sampan up`.\n"
    assert not where.exists()


def test_kubectl_without_a_cluster(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kubectl", "--data-dir", str(tmp_path / "none"), "get", "pods", "--what"]) == 1
    assert "There is no cluster" in capsys.readouterr().err


def test_down_without_a_cluster_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["down", "--delete", "--data-dir", str(tmp_path)]) == 0
    assert "nothing was changed" in capsys.readouterr().out
    assert tmp_path.exists()


def test_a_damaged_cluster(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text("{")
    assert main(["status", "--data-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_damaged_cluster_can_be_deleted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    root = tmp_path / "data"
    root.mkdir()
    (root / "config.json").write_text("{")
    assert main(["down", "--data-dir", str(root)]) == 1
    assert main(["down", "--delete", "--data-dir", str(root)]) == 0
    assert not root.exists()


def test_what_is_not_ours_is_never_deleted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text('{"theirs": true}')
    (tmp_path / "thesis.tex").write_text("dear")
    assert main(["down", "--delete", "--data-dir", str(tmp_path)]) == 1
    assert "is damaged" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "thesis.tex"]


def test_a_cluster_that_is_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.save(Layout(tmp_path), Settings(id="ab12", runtime="simulated"))
    assert main(["status", "--data-dir", str(tmp_path)]) == 1
    assert "is down. Start it with `sampan up`" in capsys.readouterr().out
    assert main(["logs", "apiserver", "--data-dir", str(tmp_path)]) == 1
    assert "There is no log of 'apiserver'; there are none yet." in capsys.readouterr().err


def test_no_command_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 1
    assert "sampan" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out.startswith("sampan ")
