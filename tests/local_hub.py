"""
A Hub on this machine, over real HTTP: as much of the Hub's interface as its libraries use to push and to load.

Repositories are kept in memory, commit by commit. `LocalHub.breaks_after` makes an upload break off, and
`LocalHub.spoil` changes what is served, as a bad disk would. What it answers follows huggingface_hub 2.4.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


LARGE_SIZE = 64 * 1024
LARGE_NAMES = (".safetensors", ".parquet", ".bin")
"""Files from this size on, and those of these names, go the way of large files."""

TOKEN = "hf_local"
USER = "tester"
BROKEN_OFF = 507
"""Status of an upload that breaks off; one that clients do not try again."""


@dataclass(slots=True)
class Repository:
    """A repository: its commits, oldest first, each with all of its files; and its branches and tags."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    is_private: bool = False
    sdk: str | None = None

    def commit(self, files: dict[str, bytes], *, to: str = "main") -> str:
        """A new commit with these files, which the branch then names."""
        digest = hashlib.sha1(usedforsecurity=False)
        digest.update(f"{len(self.commits)} {to}".encode())
        for path, content in sorted(files.items()):
            digest.update(path.encode() + hashlib.sha1(content, usedforsecurity=False).digest())
        self.commits[digest.hexdigest()] = files
        self.names[to] = digest.hexdigest()
        return digest.hexdigest()

    def find(self, revision: str) -> str | None:
        """The commit that a branch, tag or beginning of a commit's name means."""
        revision = revision.removeprefix("refs/heads/")
        matching = [
            name for name in self.commits if name == revision or len(revision) > 6 and name.startswith(revision)
        ]
        return self.names.get(revision) or (matching[0] if matching else None)


class LocalHub:
    """The server of a bound socket, whose `url` must be `HF_ENDPOINT` before anything of the Hub is imported."""

    def __init__(self, at: socket.socket) -> None:
        self.socket = at
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.large: dict[str, bytes] = {}
        self.spoilt: dict[tuple[str, str], bytes] = {}
        self.breaks_after: int | None = None
        """Large files that arrive before the upload breaks off."""
        self.uploads: list[str] = []
        """What was uploaded: oids of large files, then the commit."""

    def clear(self) -> None:
        """Forgets everything."""
        for kept in (self.repositories, self.large, self.spoilt, self.uploads):
            kept.clear()
        self.breaks_after = None

    def files(self, repo_id: str, *, kind: str = "model", revision: str = "main") -> dict[str, bytes]:
        """What a repository holds."""
        repository = self.repositories[kind, repo_id]
        return repository.commits[repository.names.get(revision, revision)]

    def spoil(self, repo_id: str, path: str, *, by: bytes) -> None:
        """Serves `by` under the name and hash of a file from now on."""
        self.spoilt[repo_id, path] = by

    @contextmanager
    def running(self) -> Iterator[LocalHub]:
        """Serves until the end of the block."""
        config = uvicorn.Config(self._application(), log_level="error", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [self.socket]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield self
        finally:
            server.should_exit = True
            thread.join(timeout=10)

    # -- the interface ------------------------------------------------------------------------------------------------

    def _application(self) -> Starlette:
        api = "/api/{kinds:str}/{owner:str}/{name:str}"
        resolve = "{owner:str}/{name:str}/resolve/{revision:str}/{path:path}"
        lfs = "{owner:str}/{name:str}.git/info/lfs/objects/batch"
        return Starlette(
            routes=[
                Route("/api/whoami-v2", self._whoami),
                Route("/api/validate-yaml", self._validate, methods=["POST"]),
                Route("/api/repos/create", self._create, methods=["POST"]),
                Route("/api/repos/delete", self._delete, methods=["DELETE"]),
                Route(api + "/preupload/{revision:path}", self._preupload, methods=["POST"]),
                Route(api + "/commit/{revision:path}", self._commit, methods=["POST"]),
                Route(api + "/branch/{revision:path}", self._branch, methods=["POST"]),
                Route(api + "/tag/{revision:path}", self._branch, methods=["POST"]),
                Route(api + "/paths-info/{revision:path}", self._paths, methods=["POST"]),
                Route(api + "/tree/{revision:str}/{path:path}", self._tree),
                Route(api + "/tree/{revision:str}", self._tree),
                Route(api + "/refs", self._refs),
                Route(api + "/revision/{revision:path}", self._info),
                Route(api, self._info),
                *[Route(f"/{kinds}{lfs}", self._batch, methods=["POST"]) for kinds in ("datasets/", "spaces/", "")],
                Route("/lfs/verify", self._verify, methods=["POST"]),
                Route("/lfs/{oid:str}", self._put, methods=["PUT"]),
                *[Route(f"/{kinds}{resolve}", self._file, methods=["GET", "HEAD"]) for kinds in ("{kinds:str}/", "")],
            ]
        )

    async def _whoami(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return _error(401, "InvalidToken", "Invalid user token.")
        return JSONResponse({"type": "user", "name": USER, "orgs": [], "auth": {"accessToken": {"role": "write"}}})

    async def _validate(self, request: Request) -> Response:
        return JSONResponse({"errors": [], "warnings": []})

    async def _create(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return _error(401, "InvalidToken", "Invalid user token.")
        body = await request.json()
        kind = body.get("type") or "model"
        repo_id = f"{body.get('organization') or USER}/{body['name']}"
        if (kind, repo_id) in self.repositories:
            return JSONResponse({"error": "exists", "url": f"{self.url}/{repo_id}"}, status_code=409)
        repository = Repository(is_private=body.get("visibility") == "private", sdk=body.get("sdk"))
        repository.commit({".gitattributes": b""})
        self.repositories[kind, repo_id] = repository
        prefix = "" if kind == "model" else f"{kind}s/"
        return JSONResponse({"url": f"{self.url}/{prefix}{repo_id}", "name": repo_id})

    async def _delete(self, request: Request) -> Response:
        body = await request.json()
        repo_id = f"{body.get('organization') or USER}/{body['name']}"
        self.repositories.pop((body.get("type") or "model", repo_id), None)
        return JSONResponse({})

    async def _preupload(self, request: Request) -> Response:
        if self._repository(request) is None:
            return _missing_repository()
        files = (await request.json())["files"]
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if _is_large(file["path"], file["size"]) else "regular",
                "shouldIgnore": False,
            }
            for file in files
        ]
        return JSONResponse({"files": modes})

    async def _batch(self, request: Request) -> Response:
        objects = []
        for item in (await request.json())["objects"]:
            actions = {
                "upload": {"href": f"{self.url}/lfs/{item['oid']}"},
                "verify": {"href": f"{self.url}/lfs/verify"},
            }
            known = item["oid"] in self.large
            objects.append({"oid": item["oid"], "size": item["size"], **({} if known else {"actions": actions})})
        return JSONResponse({"transfer": "basic", "objects": objects}, media_type="application/vnd.git-lfs+json")

    async def _put(self, request: Request) -> Response:
        if self.breaks_after is not None and len(self.uploads) >= self.breaks_after:
            return _error(BROKEN_OFF, "Broken", "The upload broke off.")
        oid = request.path_params["oid"]
        self.large[oid] = await request.body()
        self.uploads.append(oid)
        return Response()

    async def _verify(self, request: Request) -> Response:
        oid = (await request.json())["oid"]
        is_right = hashlib.sha256(self.large.get(oid, b"")).hexdigest() == oid
        return JSONResponse({}, status_code=200 if is_right else 422)

    async def _commit(self, request: Request) -> Response:
        repository = self._repository(request)
        if repository is None:
            return _missing_repository()
        lines = [json.loads(line) for line in (await request.body()).splitlines() if line.strip()]
        if self.breaks_after is not None:
            return _error(BROKEN_OFF, "Broken", "The commit broke off.")
        branch = request.path_params["revision"]
        parent = repository.find(branch)
        if parent is None:
            return _error(404, "RevisionNotFound", f"No branch {branch}.")
        files = dict(repository.commits[parent])
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.large[value["oid"]]
            elif line["key"] == "deletedFile":
                files.pop(value["path"], None)
            elif line["key"] == "deletedFolder":
                files = {
                    path: content
                    for path, content in files.items()
                    if not path.startswith(value["path"].rstrip("/") + "/")
                }
        oid = repository.commit(files, to=branch)
        self.uploads.append(oid)
        owner, name = request.path_params["owner"], request.path_params["name"]
        url = f"{self.url}/{owner}/{name}/commit/{oid}"
        return JSONResponse({"success": True, "commitUrl": url, "commitOid": oid, "hookOutput": ""})

    async def _branch(self, request: Request) -> Response:
        repository = self._repository(request)
        if repository is None:
            return _missing_repository()
        body = await request.json() if await request.body() else {}
        path, tag = request.path_params["revision"], body.get("tag")
        if (tag or path) in repository.names:
            return _error(409, "Exists", f"{tag or path} exists.")
        start = repository.find(path if tag else body.get("startingPoint", "main"))
        if start is None:
            return _error(404, "RevisionNotFound", "No such revision.")
        repository.names[tag or path] = start
        return JSONResponse({})

    async def _refs(self, request: Request) -> Response:
        repository = self._repository(request)
        if repository is None:
            return _missing_repository()
        branches = [
            {"name": name, "ref": f"refs/heads/{name}", "targetCommit": oid} for name, oid in repository.names.items()
        ]
        return JSONResponse({"branches": branches, "tags": [], "converts": [], "pullRequests": []})

    async def _info(self, request: Request) -> Response:
        repository = self._repository(request)
        if repository is None:
            return _missing_repository()
        revision = repository.find(request.path_params.get("revision", "main"))
        if revision is None:
            return _error(404, "RevisionNotFound", "No such revision.")
        files = repository.commits[revision]
        repo_id = f"{request.path_params['owner']}/{request.path_params['name']}"
        info = {
            "id": repo_id,
            "modelId": repo_id,
            "sha": revision,
            "private": repository.is_private,
            "siblings": [{"rfilename": path} for path in sorted(files)],
            "tags": [],
            "downloads": 0,
            "likes": 0,
        }
        return JSONResponse(info | ({"sdk": repository.sdk} if repository.sdk else {}))

    async def _tree(self, request: Request) -> Response:
        repository = self._repository(request)
        if repository is None:
            return _missing_repository()
        revision = repository.find(request.path_params["revision"])
        if revision is None:
            return _error(404, "RevisionNotFound", "No such revision.")
        folder = request.path_params.get("path", "").strip("/")
        inside = {
            path: content
            for path, content in repository.commits[revision].items()
            if not folder or path.startswith(folder + "/")
        }
        if folder and not inside:
            return _error(404, "EntryNotFound", f"No folder {folder}.", commit=revision)
        if request.query_params.get("recursive", "false").lower() == "true":
            return JSONResponse([_entry(path, content) for path, content in sorted(inside.items())])
        depth = folder.count("/") + 1 if folder else 0
        entries: dict[str, dict[str, Any]] = {}
        for path, content in sorted(inside.items()):
            parts = path.split("/")
            if len(parts) > depth + 1:
                name = "/".join(parts[: depth + 1])
                entries[name] = {"type": "directory", "path": name, "oid": "0" * 40, "size": 0}
            else:
                entries[path] = _entry(path, content)
        return JSONResponse(list(entries.values()))

    async def _paths(self, request: Request) -> Response:
        repository = self._repository(request)
        if repository is None:
            return _missing_repository()
        form = await request.form() if "form" in request.headers.get("content-type", "") else await request.json()
        paths = form.getlist("paths") if hasattr(form, "getlist") else form["paths"]
        files = repository.commits[repository.find(request.path_params["revision"]) or ""]
        return JSONResponse([_entry(path, files[path]) for path in paths if path in files])

    async def _file(self, request: Request) -> Response:
        repository = self._repository(request)
        if repository is None:
            return _missing_repository()
        revision = repository.find(request.path_params["revision"])
        if revision is None:
            return _error(404, "RevisionNotFound", "No such revision.")
        path = request.path_params["path"]
        content = repository.commits[revision].get(path)
        if content is None:
            return _error(404, "EntryNotFound", f"No file {path}.", commit=revision)
        headers = {"etag": f'"{_etag(path, content)}"', "x-repo-commit": revision, "accept-ranges": "bytes"}
        if request.method == "HEAD":
            return Response(headers=headers | {"content-length": str(len(content))})
        repo_id = f"{request.path_params['owner']}/{request.path_params['name']}"
        content = self.spoilt.get((repo_id, path), content)
        wanted = request.headers.get("range", "")
        if wanted.startswith("bytes="):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            stop = int(last) + 1 if last else len(content)
            headers["content-range"] = f"bytes {first}-{stop - 1}/{len(content)}"
            return Response(content[int(first) : stop], status_code=206, headers=headers)
        return Response(content, headers=headers)

    def _repository(self, request: Request) -> Repository | None:
        kinds = request.path_params.get("kinds") or "models"
        repo_id = f"{request.path_params['owner']}/{request.path_params['name']}"
        repository = self.repositories.get((kinds.removesuffix("s"), repo_id))
        if repository is not None and repository.is_private:
            return repository if request.headers.get("authorization") == f"Bearer {TOKEN}" else None
        return repository


def _is_large(path: str, size: int) -> bool:
    return size >= LARGE_SIZE or path.endswith(LARGE_NAMES)


def _etag(path: str, content: bytes) -> str:
    return hashlib.sha256(content).hexdigest() if _is_large(path, len(content)) else _git_hash(content)


def _git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _entry(path: str, content: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "oid": _git_hash(content), "size": len(content)}
    if _is_large(path, len(content)):
        digest = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 130}
    return entry


def _error(status: int, code: str, message: str, *, commit: str | None = None) -> Response:
    headers = {"x-error-code": code, "x-error-message": message} | ({"x-repo-commit": commit} if commit else {})
    return JSONResponse({"error": message}, status_code=status, headers=headers)


def _missing_repository() -> Response:
    return _error(404, "RepoNotFound", "Repository not found.")
