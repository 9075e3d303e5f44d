"""Warnings for served versions that Kubernetes has deprecated."""

from __future__ import annotations

import asyncio

import pytest

from tests.api.server import Api, run, served

ENDPOINTS = "/api/v1/namespaces/default/endpoints"
WARNING = '299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"'


@served
async def test_each_request_is_warned(api: Api) -> None:
    made = await api.post(ENDPOINTS, {"metadata": {"name": "a"}})
    assert made.headers["Warning"] == WARNING
    assert (await api.get(ENDPOINTS)).headers["Warning"] == WARNING
    assert (await api.get("/api/v1/componentstatuses")).headers["Warning"] == (
        '299 - "v1 ComponentStatus is deprecated in v1.19+"'
    )
    assert "Warning" not in (await api.get("/api/v1/namespaces/default/configmaps")).headers


@served
async def test_beside_other_warnings(api: Api) -> None:
    made = await api.post(ENDPOINTS, {"metadata": {"name": "a"}, "colour": 1})
    assert made.headers["Warning"] == WARNING + ', 299 - "unknown field \\"colour\\""'


@pytest.mark.parametrize(("version", "warned"), [("1.32", False), ("1.33", True)])
def test_a_version_warns_from_when_it_was_deprecated(version: str, warned: bool) -> None:
    async def work(api: Api) -> None:
        assert ("Warning" in (await api.get(ENDPOINTS)).headers) is warned

    asyncio.run(run(work, version=version))
