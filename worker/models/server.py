"""The HTTP side of the model store: models by digest with ranges, and uploads of the candidate whose turn it is."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated

import structlog
from fastapi import FastAPI, HTTPException, Path, Request, Response
from fastapi.responses import FileResponse

from learningchain.client import errors
from worker.models.store import ModelStore, ModelStoreError, StoreFull
from worker.models.uploads import Admission, UploadClaim, UploadRefused, parse_claim

log = structlog.get_logger()

MODEL_PATH = "/v1/models/{digest}"
Digest = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]
CheckUpload = Callable[[UploadClaim], Awaitable[Admission]]
"""Checks a claim against the chain; raises UploadRefused or a ClientError."""
PATIENCE_SECONDS = 30.0
SLOWEST = 64 << 10
"""Bytes per second: an upload that takes longer than PATIENCE_SECONDS and this for all of it is cut off."""


def create_app(store: ModelStore, check_upload: CheckUpload) -> FastAPI:
    """Return the application; it holds no state besides the store."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    @app.get(MODEL_PATH)
    @app.head(MODEL_PATH)
    async def get_model(digest: Digest) -> Response:
        path = store.get_path(bytes.fromhex(digest))
        if path is None:
            raise HTTPException(404, "this node does not hold the model")
        headers = {"X-Content-Type-Options": "nosniff", "ETag": f'"{digest}"'}
        return FileResponse(path, media_type="application/octet-stream", filename=digest, headers=headers)

    @app.put(MODEL_PATH, status_code=201)
    async def put_model(digest: Digest, request: Request) -> Response:
        """Check the right before the first byte of the body is read."""
        wanted = bytes.fromhex(digest)
        claim = _parse(request, wanted)
        try:
            admission = await check_upload(claim)
        except UploadRefused as error:
            raise HTTPException(403, str(error)) from error
        except errors.ClientError as error:
            log.warning("upload_not_checked", job=claim.job_id, reason=str(error))
            raise HTTPException(503, "this relay's node does not answer: try another relay") from error
        await _take_in(store, request, claim, admission)
        return Response(status_code=201)

    return app


def _parse(request: Request, digest: bytes) -> UploadClaim:
    length = request.headers.get("content-length", "")
    if not (length.isascii() and length.isdigit() and len(length) <= 15):
        raise HTTPException(411, "an upload states its Content-Length")
    try:
        return parse_claim(request.headers, digest, int(length))
    except UploadRefused as error:
        raise HTTPException(400, str(error)) from error


async def _take_in(store: ModelStore, request: Request, claim: UploadClaim, admission: Admission) -> None:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS + claim.size / SLOWEST):
            if store.get_path(claim.digest) is not None and store.keep(claim.digest, admission.promise):
                async for _ in request.stream():
                    pass  # clients listen when they have sent all, and one that is answered before is not waited for
                return
            await store.add_stream(request.stream(), claim.size, admission.max_bytes, claim.digest, admission.promise)
    except TimeoutError:
        raise HTTPException(408, "the upload is too slow") from None
    except StoreFull as error:
        raise HTTPException(507, str(error)) from error
    except ModelStoreError as error:
        raise HTTPException(400, str(error)) from error
