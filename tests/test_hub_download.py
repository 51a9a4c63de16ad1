"""``from_pretrained`` through the real huggingface_hub client, against a server on loopback."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hub_server import Answer, Client, HubServer, Repo

from mamp import MAMPConfig, MAMPEncoder
from mamp.hub import fingerprint

TINY = MAMPConfig(dim_feat=32, depth=2, num_heads=4, num_frames=16)
LOAD = "encoder = MAMPEncoder.from_pretrained(name, **options); result = fingerprint(encoder)"


def tiny(folder: Path, seed: int) -> tuple[dict[str, bytes], str]:
    """Files of a saved encoder, and its fingerprint."""
    torch.manual_seed(seed)
    encoder = MAMPEncoder(TINY)
    encoder.save_pretrained(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}, fingerprint(encoder)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[dict[str, bytes], str]]:
    return [tiny(tmp_path_factory.mktemp("saved"), seed) for seed in range(2)]


@pytest.fixture
def server() -> Iterator[HubServer]:
    server = HubServer()
    yield server
    server.close()


@pytest.fixture(scope="module")
def shared_server() -> Iterator[HubServer]:
    server = HubServer()
    yield server
    server.close()


@pytest.fixture(scope="module")
def client(shared_server: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    client = Client(shared_server.url, tmp_path_factory.mktemp("home"))
    yield client
    client.close()


@pytest.fixture
def hub(shared_server: HubServer) -> HubServer:
    """The server of ``client``, emptied."""
    shared_server.repos.clear()
    shared_server.requests.clear()
    shared_server.faults.clear()
    return shared_server


def load(client: Client, name: str, cache: Path, **options: object) -> Answer:
    return client.run(LOAD, name=name, options={"cache_dir": str(cache), **options})


def with_variable(name: str) -> str:
    """Code that loads with a variable of the environment, whose value is to be formatted in."""
    return f"os.environ[{name!r}] = {{!r}}\ntry:\n    {LOAD}\nfinally:\n    del os.environ[{name!r}]\n"


def refused(answer: Answer, *words: str) -> str:
    """Check that an answer is a WeightsError that says all of ``words``."""
    assert answer.error is not None, f"loaded {answer.result}"
    kind, message = answer.error
    assert kind == "WeightsError", answer.error
    for word in words:
        assert word in message
    return message


def test_first_download_then_cache(hub: HubServer, client: Client, saved: list, tmp_path: Path) -> None:
    files, print_ = saved[0]
    commit = hub.repos.setdefault("you/one", Repo()).commit(files)
    assert load(client, "you/one", tmp_path).result == print_
    fetched = {path.rpartition("/")[2] for method, path in hub.requests if method == "GET"}
    assert fetched == {"config.json", "model.safetensors"}

    hub.requests.clear()
    assert load(client, "you/one", tmp_path).result == print_
    assert hub.requests and all(method == "HEAD" for method, _ in hub.requests)  # a branch may have moved

    hub.requests.clear()
    assert load(client, "you/one", tmp_path, revision=commit).result == print_
    assert load(client, f"you/one@{commit}", tmp_path).result == print_
    assert hub.requests == []  # a commit never changes


def test_a_moved_branch_is_followed_and_a_pinned_commit_is_not(
    hub: HubServer, client: Client, saved: list, tmp_path: Path
) -> None:
    repo = hub.repos.setdefault("you/one", Repo())
    old = repo.commit(saved[0][0])
    assert load(client, "you/one", tmp_path).result == saved[0][1]
    repo.commit(saved[1][0])
    assert load(client, "you/one", tmp_path).result == saved[1][1]
    assert load(client, "you/one", tmp_path, revision=old).result == saved[0][1]
    assert load(client, "you/one", tmp_path / "fresh", revision=old).result == saved[0][1]


def test_the_three_kinds_of_not_found(hub: HubServer, client: Client, saved: list, tmp_path: Path) -> None:
    hub.repos.setdefault("you/one", Repo()).commit(saved[0][0])
    hub.repos.setdefault("you/half", Repo()).commit({"config.json": saved[0][0]["config.json"]})
    hub.repos.setdefault("you/other", Repo()).commit({"README.md": b"hello"})
    for token in (False, "someone"):
        message = refused(load(client, "you/none", tmp_path, token=token), "'you/none'", "no such repository", "token")
        assert "mamp convert" not in message and "no folder 'you/none'" in message
    refused(load(client, "you/one", tmp_path, revision="v9"), "revision 'v9'", "branch, tag or commit")
    refused(load(client, "you/half", tmp_path), "model.safetensors is missing")
    refused(load(client, "you/other", tmp_path), "config.json is missing")


def test_private_repository(hub: HubServer, client: Client, saved: list, tmp_path: Path) -> None:
    hub.repos["you/secret"] = Repo(token="hf_right")
    hub.repos["you/secret"].commit(saved[0][0])
    refused(load(client, "you/secret", tmp_path), "HF_TOKEN", "token=")
    message = refused(load(client, "you/secret", tmp_path, token="hf_wrong"), "403", "token=")
    assert "hf_wrong" not in message
    refused(load(client, "you/secret", tmp_path, token=True), "no token is saved")
    assert load(client, "you/secret", tmp_path, token="hf_right").result == saved[0][1]


def test_truncated_body(hub: HubServer, client: Client, saved: list, tmp_path: Path) -> None:
    hub.repos.setdefault("you/one", Repo()).commit(saved[0][0])
    hub.faults["model.safetensors"] = "truncated"
    answer = load(client, "you/one", tmp_path)
    refused(answer, "broke off", "Try again")
    assert answer.seconds < 20
    hub.faults.clear()
    assert load(client, "you/one", tmp_path).result == saved[0][1]


def test_bytes_that_are_not_what_the_hub_promised(hub: HubServer, client: Client, saved: list, tmp_path: Path) -> None:
    files, print_ = saved[0]
    commit = hub.repos.setdefault("you/one", Repo()).commit(files)
    hub.faults["model.safetensors"] = "other bytes"
    promised = hashlib.sha256(files["model.safetensors"]).hexdigest()
    refused(load(client, "you/one", tmp_path), "expected sha256", promised, "found", "removed")
    refused(load(client, "you/one", tmp_path, local_files_only=True), "not in the cache")
    hub.faults.clear()
    assert load(client, "you/one", tmp_path, revision=commit).result == print_


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_lie_about_a_file_does_not_stay(
    hub: HubServer, client: Client, saved: list, tmp_path: Path, file: str
) -> None:
    files, print_ = saved[0]
    hub.repos.setdefault("you/one", Repo()).commit(files)
    hub.faults[file] = "other bytes"
    refused(load(client, "you/one", tmp_path), file, "expected", "found", "removed")
    hub.faults.clear()
    assert load(client, "you/one", tmp_path).result == print_


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_flipped_bit_in_the_cache_is_fetched_again(
    hub: HubServer, client: Client, saved: list, tmp_path: Path, file: str
) -> None:
    files, print_ = saved[0]
    commit = hub.repos.setdefault("you/one", Repo()).commit(files)
    assert load(client, "you/one", tmp_path, revision=commit).result == print_
    cached = next(tmp_path.glob(f"models--you--one/snapshots/*/{file}"))
    content = bytearray(cached.read_bytes())
    content[-3] ^= 1
    cached.resolve().write_bytes(content)
    assert load(client, "you/one", tmp_path, revision=commit).result == print_
    cached.resolve().write_bytes(content)
    refused(load(client, "you/one", tmp_path, revision=commit, local_files_only=True), "expected", "removed")


@pytest.mark.parametrize("fault", ["etag outside", "commit outside"])
def test_names_that_lead_out_of_the_cache(
    hub: HubServer, client: Client, saved: list, tmp_path: Path, fault: str
) -> None:
    hub.repos.setdefault("you/one", Repo()).commit(saved[0][0])
    hub.faults |= {"config.json": fault, "model.safetensors": fault}
    refused(load(client, "you/one", tmp_path / "cache"), "hexadecimal", "Nothing was written")
    assert not list(tmp_path.rglob("*.safetensors")) and not (tmp_path / "cache" / "evil").exists()


@pytest.mark.parametrize("fault", ["busy", "slow"])
def test_a_server_that_keeps_one_waiting(
    hub: HubServer, client: Client, saved: list, tmp_path: Path, fault: str
) -> None:
    hub.repos.setdefault("you/one", Repo()).commit(saved[0][0])
    hub.faults["model.safetensors"] = fault
    within = with_variable("MAMP_HUB_TIMEOUT").format("1.5")
    answer = client.run(within, name="you/one", options={"cache_dir": str(tmp_path)})
    refused(answer, "reached, but", "try again later" if "HTTP" in str(answer.error) else "MAMP_HUB_TIMEOUT")
    assert answer.seconds < 10
    hub.faults.clear()
    assert load(client, "you/one", tmp_path).result == saved[0][1]  # the transfer that was given up is in nobody's way


def test_another_commit_than_the_one_asked_for(hub: HubServer, client: Client, saved: list, tmp_path: Path) -> None:
    repo = hub.repos.setdefault("you/one", Repo())
    old, new = repo.commit(saved[0][0]), repo.commit(saved[1][0])
    repo.refs[old] = new
    refused(load(client, "you/one", tmp_path, revision=old), f"expected commit {old}", f"found {new}")


def test_sha256_of_the_manifest(hub: HubServer, client: Client, saved: list, tmp_path: Path) -> None:
    files, print_ = saved[0]
    commit = hub.repos.setdefault("you/named", Repo()).commit(files)
    right = hashlib.sha256(files["model.safetensors"]).hexdigest()
    entry = {"description": "d", "trained_on": "t", "licence": "l", "repository": "you/named", "revision": "v2"}
    revisions = {"v1": {"commit": commit, "sha256": "0" * 64}, "v2": {"commit": commit, "sha256": right}}
    weights = tmp_path / "weights"
    weights.mkdir()
    manifest = {"weights": {"named": {**entry, "revisions": revisions}}, "aliases": {"n": "named"}}
    (weights / "manifest.json").write_text(json.dumps(manifest))
    use = (
        "import mamp.hub.manifest as m\n"
        "before, m.weights_folder = m.weights_folder, lambda: Path(weights)\n"
        "m.load_manifest.cache_clear()\n"
        f"try:\n    {LOAD}\n"
        "finally:\n    m.weights_folder = before; m.load_manifest.cache_clear()\n"
    )
    options = {"cache_dir": str(tmp_path / "cache")}
    assert client.run(use, weights=str(weights), name="n", options=options).result == print_
    wrong = client.run(use, weights=str(weights), name="named@v1", options=options)
    refused(wrong, "expected sha256 " + "0" * 64, f"found {right}", "removed")
    refused(load(client, "you/named", tmp_path / "cache", revision=commit, local_files_only=True), "not in the cache")
    assert client.run(use, weights=str(weights), name="named", options=options).result == print_


def test_names_that_may_not_be_handed_out_say_how_to_get_them(hub: HubServer, client: Client, tmp_path: Path) -> None:
    message = refused(
        load(client, "ntu120", tmp_path),
        "not on this machine",
        "mamp convert CHECKPOINT.pth --as ntu120-xsub",
        "mamp convert CHECKPOINT.pth OUT_DIR --preset ntu120-xsub",
        "$MAMP_WEIGHTS/ntu120-xsub",
        "python -m mamp.train ntu120-xsub --data DIR --output DIR",
    )
    assert len(message.splitlines()) < 9
    assert hub.requests == []


def test_named_weights_download_from_the_namespace_of_the_user(
    hub: HubServer, client: Client, saved: list, tmp_path: Path
) -> None:
    """Nobody owns the names of this package on the Hub: whoever registered them could serve other weights."""
    hub.repos.setdefault("mamp-skeleton/mamp-ntu60-xsub", Repo()).commit(saved[1][0])
    hub.repos.setdefault("lab/mamp-ntu60-xsub", Repo()).commit(saved[0][0])
    for revision in (None, "main"):
        refused(load(client, "ntu60", tmp_path, revision=revision), "mamp convert")
    assert hub.requests == []
    within = (
        f"os.environ['MAMP_HUB_NAMESPACE'] = {{!r}}\ntry:\n    {LOAD}\nfinally: del os.environ['MAMP_HUB_NAMESPACE']\n"
    )
    options = {"cache_dir": str(tmp_path)}
    assert client.run(within.format("lab"), name="ntu60", options=options).result == saved[0][1]
    refused(client.run(within.format("../x"), name="ntu60", options=options), "MAMP_HUB_NAMESPACE")


def test_local_files_only(hub: HubServer, client: Client, saved: list, tmp_path: Path) -> None:
    hub.repos.setdefault("you/one", Repo()).commit(saved[0][0])
    refused(load(client, "you/one", tmp_path, local_files_only=True), "local_files_only=True")
    refused(load(client, "pku1", tmp_path, local_files_only=True), "mamp convert")
    assert hub.requests == []
    assert load(client, "you/one", tmp_path).result == saved[0][1]
    hub.requests.clear()
    assert load(client, "you/one", tmp_path, local_files_only=True).result == saved[0][1]
    assert hub.requests == []


def test_push_then_load(hub: HubServer, client: Client, tmp_path: Path) -> None:
    push = (
        "torch.manual_seed(3)\n"
        "encoder = MAMPEncoder(MAMPConfig(dim_feat=32, depth=2, num_heads=4, num_frames=16))\n"
        "result = [encoder.push_to_hub(repo, token=token, revision=revision, private=True), fingerprint(encoder)]\n"
    )
    answer = client.run(push, repo="you/pushed", token="hf_mine", revision=None)
    assert answer.error is None, answer.error
    address, print_ = answer.result
    repo = hub.repos["you/pushed"]
    assert address == f"{hub.url}/you/pushed/commit/{repo.refs['main']}"
    assert set(repo.commits[repo.refs["main"]]) == {"config.json", "model.safetensors", "README.md"}
    card = repo.commits[repo.refs["main"]]["README.md"].decode()
    assert "library_name: mamp" in card and "from_pretrained('you/pushed')" in card
    assert load(client, "you/pushed", tmp_path, token="hf_mine").result == print_
    refused(load(client, "you/pushed", tmp_path / "other"), "token=")

    assert client.run(push, repo="you/pushed", token="hf_mine", revision="next").error is None
    assert load(client, "you/pushed", tmp_path, token="hf_mine", revision="next").result == print_

    refused(client.run(push, repo="you/pushed", token=False, revision=None), "access was refused", "token=")
    refused(client.run(push, repo="forbidden/x", token="hf_mine", revision=None), "403", "token=")


def test_server_gone(saved: list, server: HubServer, tmp_path: Path) -> None:
    server.repos.setdefault("you/one", Repo()).commit(saved[0][0])
    client = Client(server.url, tmp_path)
    try:
        assert load(client, "you/one", tmp_path).result == saved[0][1]
        server.close()
        assert load(client, "you/one", tmp_path).result == saved[0][1]  # from the cache
        answer = load(client, "you/two", tmp_path)
        refused(answer, server.url, "cannot be reached", "HF_ENDPOINT")
        assert answer.seconds < 5
        answer = load(client, "ntu60", tmp_path)
        refused(answer, "not on this machine", "mamp convert", "mamp.train")
        assert answer.seconds < 5
        push = client.run("result = MAMPEncoder(MAMPConfig(dim_feat=8, depth=1)).push_to_hub('a/b', token='t')")
        refused(push, "cannot be reached")
    finally:
        client.close()


def test_offline_mode(saved: list, server: HubServer, tmp_path: Path) -> None:
    server.repos.setdefault("you/one", Repo()).commit(saved[0][0])
    online = Client(server.url, tmp_path)
    assert load(online, "you/one", tmp_path / "cache").result == saved[0][1]
    online.close()
    server.requests.clear()
    offline = Client(server.url, tmp_path, HF_HUB_OFFLINE="1")
    try:
        assert load(offline, "you/one", tmp_path / "cache").result == saved[0][1]
        for name, word in (("you/two", "HF_HUB_OFFLINE"), ("ntu60", "mamp convert")):
            answer = load(offline, name, tmp_path / "cache")
            refused(answer, word)
            assert answer.seconds < 2
        push = offline.run("result = MAMPEncoder(MAMPConfig(dim_feat=8, depth=1)).push_to_hub('a/b', token='t')")
        refused(push, "HF_HUB_OFFLINE")
        assert server.requests == []
    finally:
        offline.close()


def test_weights_variable_comes_before_the_network(saved: list, tmp_path: Path) -> None:
    with socket.socket() as listener:  # a port that is bound but answers nobody: a request would hang
        listener.bind(("127.0.0.1", 0))
        folder = tmp_path / "mine" / "ntu60"
        folder.mkdir(parents=True)
        for name, content in saved[0][0].items():
            (folder / name).write_bytes(content)
        client = Client(f"http://127.0.0.1:{listener.getsockname()[1]}", tmp_path, MAMP_WEIGHTS=str(tmp_path / "mine"))
        try:
            for name in ("ntu60", "ntu60-xsub"):
                assert load(client, name, tmp_path / "cache").result == saved[0][1]
        finally:
            client.close()
