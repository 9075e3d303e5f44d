from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sampan.base.clock import SimulatedClock
from sampan.base.errors import SampanError
from sampan.cluster import encryption
from sampan.store.backend import Committed, Guard, KeyRange, Put
from sampan.store.memory import MemoryStore
from sampan.store.sealed import SealedStore, Seals
from sampan.store.sealing import AesCbc, AesGcm, Identity, Ring, SecretBox, Unsealable
from sampan.store.sqlite import SqliteStore

SECRET = "/registry/core/secrets/default/a"
PLAIN = b'{"metadata":{"resourceVersion":""},"data":{"password":"aHVudGVyMg=="}}'
KEYS = {"one": b"1" * 32, "two": b"2" * 32}


def _configuration(*providers: dict[str, Any], resources: tuple[str, ...] = ("secrets",)) -> dict[str, Any]:
    rule = {"resources": list(resources), "providers": list(providers)}
    return {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [rule],
    }


def _provider(kind: str, *names: str) -> dict[str, Any]:
    keys = [{"name": name, "secret": base64.b64encode(KEYS[name]).decode()} for name in names]
    return {kind: {"keys": keys}}


@pytest.mark.parametrize("kind", [AesGcm, AesCbc, SecretBox])
@given(value=st.binary(max_size=200))
def test_what_is_sealed_opens_again(kind: Any, value: bytes) -> None:
    sealer = kind("one", KEYS["one"])
    sealed = sealer.seal(SECRET, value)
    assert sealed.startswith(sealer.prefix)
    assert sealed != sealer.seal(SECRET, value)
    assert sealer.open(SECRET, sealed) == value


@pytest.mark.parametrize("kind", [AesGcm, SecretBox])
def test_changed_bytes_and_other_keys_do_not_open(kind: Any) -> None:
    sealer = kind("one", KEYS["one"])
    sealed = sealer.seal(SECRET, PLAIN)
    with pytest.raises(Unsealable, match="cannot be decrypted"):
        sealer.open(SECRET, sealed[:-1] + bytes([sealed[-1] ^ 1]))
    with pytest.raises(Unsealable):
        kind("one", KEYS["two"]).open(SECRET, sealed)


def test_a_value_cannot_be_put_in_anothers_place() -> None:
    sealer = AesGcm("one", KEYS["one"])
    with pytest.raises(Unsealable):
        sealer.open("/registry/core/secrets/default/b", sealer.seal(SECRET, PLAIN))


def test_the_first_provider_seals_and_all_open() -> None:
    old, new = AesCbc("one", KEYS["one"]), AesGcm("two", KEYS["two"])
    ring = Ring([new, old, Identity()])
    assert ring.open(SECRET, old.seal(SECRET, PLAIN)) == PLAIN
    assert ring.open(SECRET, PLAIN) == PLAIN
    assert ring.is_current(ring.seal(SECRET, PLAIN))
    assert not ring.is_current(PLAIN)
    with pytest.raises(Unsealable, match="does not hold"):
        Ring([old]).open(SECRET, new.seal(SECRET, PLAIN))


@pytest.mark.parametrize(
    ("resource", "directory", "fits"),
    [
        ("secrets", "/registry/core/secrets/", True),
        ("secrets", "/registry/apps/secrets/", False),
        ("deployments.apps", "/registry/apps/deployments/", True),
        ("*.apps", "/registry/apps/deployments/", True),
        ("*.apps", "/registry/core/secrets/", False),
        ("*.", "/registry/core/configmaps/", True),
        ("*.*", "/registry/example.com/widgets/", True),
    ],
)
def test_resources_are_named_as_kubernetes_does(resource: str, directory: str, fits: bool) -> None:
    seals = Seals((((resource,), Ring([Identity()])),))
    assert (seals.ring(directory) is not None) == fits


def test_the_file_holds_no_plain_text_and_everybody_reads_it(tmp_path: Path) -> None:
    async def work() -> None:
        path = tmp_path / "state.db"
        seals = encryption.seals(_configuration(_provider("aesgcm", "one"), {"identity": {}}))
        store = SealedStore(SqliteStore(path), seals)
        following = store.changes(KeyRange.prefix("/registry/"), 0)
        made = await store.commit([Guard(SECRET, 0)], [Put(SECRET, PLAIN)])
        assert isinstance(made, Committed)
        await store.commit([], [Put("/registry/core/configmaps/default/a", b"in plain sight")])
        page = await store.read(KeyRange.of(SECRET))
        assert page.entries[0].value == PLAIN
        batch = await anext(following)
        assert [change.value for change in batch.changes if change.key == SECRET] == [PLAIN]
        taken = await store.commit([Guard(SECRET, 0)], [Put(SECRET, b"")])
        assert not isinstance(taken, Committed)
        assert taken.current[0].value == PLAIN
        closing: Any = following
        await closing.aclose()
        await store.close()
        stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
        assert b"aHVudGVyMg" not in stored
        assert b"k8s:enc:aesgcm:v1:one:" in stored
        assert b"in plain sight" in stored

    asyncio.run(work())


def test_a_new_key_in_the_file_takes_over_while_the_server_runs(tmp_path: Path) -> None:
    async def work() -> None:
        path = tmp_path / "encryption.yaml"
        path.write_text(yaml.safe_dump(_configuration({"identity": {}})))
        inner, clock = MemoryStore(), SimulatedClock()
        store = SealedStore(inner, encryption.load(path))
        await store.commit([], [Put(SECRET, PLAIN)])
        assert await _stored(inner) == PLAIN
        task = asyncio.ensure_future(encryption.follow(path, store, clock))

        async def settled(prefix: bytes) -> None:
            for _ in range(1000):
                await clock.advance(encryption.RELOAD_EVERY_S)
                if (await _stored(inner)).startswith(prefix):
                    return
                await asyncio.sleep(0.001)
            raise AssertionError(await _stored(inner))

        steps = [_provider("aescbc", "one"), {"identity": {}}]
        path.write_text(yaml.safe_dump(_configuration(*steps)))
        await settled(b"k8s:enc:aescbc:v1:one:")
        path.write_text(yaml.safe_dump(_configuration(_provider("aesgcm", "two"), *steps)))
        await settled(b"k8s:enc:aesgcm:v1:two:")
        path.write_text("no: configuration")
        await clock.advance(20)
        page = await store.read(KeyRange.of(SECRET))
        assert page.entries[0].value == PLAIN
        task.cancel()
        await store.close()

    asyncio.run(work())


async def _stored(store: MemoryStore) -> bytes:
    return (await store.read(KeyRange.of(SECRET))).entries[0].value


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"kind": "Pod"}, "must be an EncryptionConfiguration"),
        (_configuration(), "at least one provider"),
        (_configuration({"kms": {"apiVersion": "v2"}}), "kms is not supported; use aesgcm"),
        (_configuration({"rot13": {}}), "rot13 is no provider"),
        (_configuration({"aesgcm": {"keys": []}}), "keys must hold at least one key"),
        (_configuration({"aesgcm": {"keys": [{"name": "a", "secret": "c2hvcnQ="}]}}), "has 5 bytes"),
        (_configuration({"aesgcm": {"keys": [{"name": "a", "secret": "?"}]}}), "not base64"),
        (_configuration({"aesgcm": {"keys": [{"name": "a:b"}]}}), "no colon"),
        (_configuration({"identity": {}}, resources=()), "name at least one resource"),
    ],
)
def test_a_bad_file_is_refused_with_the_place(document: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "encryption.yaml"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(SampanError, match=words):
        encryption.load(path)
