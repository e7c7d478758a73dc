"""Who may talk to the page: nobody without the token, no other host's name, no other origin."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

PORT, TOKEN = 8765, "the-token"
ADDRESSES = ["/", "/static/review.js", "/api/review", "/api/queue", "/api/findings?rows=0"]


@pytest.mark.parametrize("address", [*ADDRESSES, "/nowhere"])
def test_nothing_is_answered_without_the_token(stranger: TestClient, address: str) -> None:
    answer = stranger.get(address)
    assert answer.status_code == 403
    assert "open the address that dml review printed" in answer.text


@pytest.mark.parametrize("address", ["/api/decide", "/api/undo", "/api/export"])
def test_nothing_is_done_without_the_token(stranger: TestClient, address: str) -> None:
    body = {"row": 0, "decision": "keep"}
    assert stranger.post(address, json=body).status_code == 403
    stranger.cookies.set(f"dml-review-{PORT}", "a guess")
    assert stranger.post(address, json=body).status_code == 403


@pytest.mark.parametrize("token", ["", "the-toke", "the-token ", "the-tokén"])
def test_a_wrong_token_is_no_token(stranger: TestClient, token: str) -> None:
    answer = stranger.get("/", params={"token": token})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_the_token_is_only_taken_at_the_page_s_address(stranger: TestClient) -> None:
    assert stranger.get("/api/review", params={"token": TOKEN}).status_code == 403


def test_the_token_becomes_a_cookie_that_scripts_and_other_sites_cannot_use(
    stranger: TestClient,
) -> None:
    answer = stranger.get("/", params={"token": TOKEN})
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"dml-review-{PORT}={TOKEN};")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Domain" not in cookie
    assert TOKEN not in answer.text
    assert stranger.get("/").text.startswith("<!doctype html>\n<html")


@pytest.mark.parametrize(
    "host", ["evil.example", f"evil.example:{PORT}", "127.0.0.1", "127.0.0.1:80", ""]
)
def test_another_host_s_name_is_refused_even_with_the_cookie(page: TestClient, host: str) -> None:
    assert page.get("/api/review", headers={"Host": host}).status_code == 403


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", f"https://127.0.0.1:{PORT}"]
)
def test_another_origin_is_refused_even_with_the_cookie(page: TestClient, origin: str) -> None:
    answer = page.post("/api/undo", json={}, headers={"Origin": origin})
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


def test_the_page_s_own_origin_is_let_through(page: TestClient) -> None:
    for name in ("127.0.0.1", "localhost"):
        headers = {"Host": f"{name}:{PORT}", "Origin": f"http://{name}:{PORT}"}
        cookie = {"Cookie": f"dml-review-{PORT}={TOKEN}"}
        assert page.post("/api/undo", json={}, headers=headers | cookie).status_code == 200


@pytest.mark.parametrize("address", ["/", "/static/review.css", "/api/review", "/nowhere"])
def test_every_answer_forbids_what_the_page_does_not_need(page: TestClient, address: str) -> None:
    headers = page.get(address).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"


def test_strangers_get_the_same_headers(stranger: TestClient) -> None:
    assert "content-security-policy" in stranger.get("/").headers
